//! The installer on machines in memory: what it finds, plans and does there, stopped at every step.

#![forbid(unsafe_code)]

mod collect;
mod crash;
mod damage;
mod doctor_page;
mod drift;
mod foreseen;
mod machine;
mod ollamas;
mod plans;
mod random;
mod refresh;
mod roots;
mod state;
mod units;
