//! A pure model of how ld.so finds a library.
