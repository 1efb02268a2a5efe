//! Whole replicas on real sockets: plaintext channels on 127.0.0.1, real logs in temporary directories, state in memory
//! or in RocksDB.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod clocks;
mod cluster;
mod commands;
mod life;
mod members;
mod wire;
