//! Compiles the .proto files with protox: no protoc is needed on the building machine.

use std::error::Error;
use std::path::PathBuf;

/// Messages that hold numbers, tokens or retry secrets: they get no `Debug`, so that no log line can print them.
const SECRET_MESSAGES: &[&str] = &[
    "fuda.vault.v1.TokenizeItem",
    "fuda.vault.v1.TokenizeRequest",
    "fuda.vault.v1.TokenizeResponse",
    "fuda.vault.v1.BatchTokenizeRequest",
    "fuda.vault.v1.TokenizeResult",
    "fuda.vault.v1.BatchTokenizeResponse",
    "fuda.vault.v1.DetokenizeRequest",
    "fuda.vault.v1.DetokenizeResponse",
    "fuda.vault.v1.BatchDetokenizeRequest",
    "fuda.vault.v1.DetokenizeResult",
    "fuda.vault.v1.BatchDetokenizeResponse",
    "fuda.vault.v1.VerifyItem",
    "fuda.vault.v1.VerifyNumberRequest",
    "fuda.vault.v1.BatchVerifyNumbersRequest",
    "fuda.vault.v1.DescribeTokenRequest",
    "fuda.vault.v1.BatchDescribeTokensRequest",
    "fuda.guard.v1.CreateCanaryResponse",
    "fuda.transfer.v1.OfferTransferRequest",
    "fuda.transfer.v1.OfferTransferResponse",
    "fuda.transfer.v1.AcceptTransferRequest",
    "fuda.transfer.v1.AcceptTransferResponse",
];

/// What another process serves than the vault.
const AUDIT_PACKAGE: &str = "fuda.audit.v1";

fn main() -> Result<(), Box<dyn Error>> {
    let files: Vec<String> = [
        "vault/v1/token",
        "cluster/v1/cluster",
        "tenant/v1/tenant",
        "ledger/v1/ledger",
        "audit/v1/audit",
        "guard/v1/guard",
        "access/v1/access",
        "purpose/v1/purpose",
        "policy/v1/policy",
        "transfer/v1/transfer",
        "peer/v1/peer",
    ]
    .iter()
    .map(|name| format!("fuda/{name}.proto"))
    .collect();
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(&files, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut vault = descriptors.clone();
    vault.file.retain(|file| file.package() != AUDIT_PACKAGE);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&vault))?;
    let audit = protox::compile(["fuda/audit/v1/audit.proto"], ["."])?;
    std::fs::write(out.join("audit-descriptors.bin"), prost::Message::encode_to_vec(&audit))?;
    tonic_prost_build::configure().bytes(".fuda.peer.v1").skip_debug(SECRET_MESSAGES).compile_fds(descriptors)?;
    Ok(())
}
