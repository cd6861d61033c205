//! Links: carry frames between guest and host.
