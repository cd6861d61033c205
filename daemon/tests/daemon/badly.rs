//! What clients do wrong, and that nobody beside them notices.
