//! End-to-end tests of obnam.
