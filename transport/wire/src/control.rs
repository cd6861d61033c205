//! Messages of the connection itself: handshake, device snapshot, device state.
