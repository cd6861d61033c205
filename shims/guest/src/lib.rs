//! What every shim shares in the guest: boundary, conversion, session, local answers.
