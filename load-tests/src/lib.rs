//! Load and evidence: real `fuda-vault` processes on this machine, put under load, killed, cut off and attacked.
//!
//! Nothing here is part of the product. What is here has to be believed, so it is small, and every checker is shown to
//! catch a planted bug.
//!
//! - [`cluster`]: nodes as processes, their certificates, grants and faults,
//! - [`cli`]: the command line as a person uses it,
//! - [`wire`]: a thin client that decides itself which node it calls and what it repeats,
//! - [`workload`]: clients that tokenize and detokenize through faults and write a [`journal`] of what was promised,
//! - [`load`]: the load generator, and what the load cost,
//! - [`sink`]: a receiver of the exported ledger that is often unwell,
//! - [`browser`]: a person at a browser, [`forwarder`]: the way of the browser to a server with mTLS,
//! - [`scanner`]: finds secrets in bytes, [`attacker`]: opens what it can,
//! - [`evidence`]: the registry of proofs that `fuda-evidence` runs.

pub mod attacker;
pub mod browser;
pub mod cli;
pub mod cluster;
pub mod evidence;
pub mod forwarder;
pub mod hooks;
pub mod https;
pub mod journal;
pub mod load;
pub mod loop_disk;
pub mod otlp;
pub mod scanner;
pub mod sink;
pub mod synthetic;
pub mod wire;
pub mod workload;
