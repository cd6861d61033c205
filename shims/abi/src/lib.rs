//! C types and result types of the four libraries; no logic.
