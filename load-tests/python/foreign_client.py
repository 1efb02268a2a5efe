#!/usr/bin/env python3
"""A client in another language, from proto/ and grpcio alone: tokenizes, detokenizes, and is refused.

It prints one line of JSON. Nothing of Fuda's own client code is used; what works here works for anyone who has the
.proto files. The number is synthetic.
"""

import argparse
import importlib
import json
import pathlib
import sys
import uuid

import grpc
from google.rpc import error_details_pb2, status_pb2


def read(path: str) -> bytes:
    return pathlib.Path(path).read_bytes()


def channel(endpoint: str, authority: str, directory: str) -> grpc.Channel:
    """A channel that shows the certificate in `directory` and checks the node's like any TLS client: by its name."""
    identity = pathlib.Path(directory)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=read(authority),
        private_key=(identity / "cert.key.pem").read_bytes(),
        certificate_chain=(identity / "cert.pem").read_bytes(),
    )
    return grpc.secure_channel(endpoint, credentials)


def error_info(error: grpc.RpcError) -> dict:
    """The google.rpc.ErrorInfo of a refusal: its stable code, reason and documentation page."""
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        status = status_pb2.Status.FromString(value)
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
                return {"reason": info.reason, "domain": info.domain, **dict(info.metadata)}
    return {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stubs", required=True, help="directory of the generated modules")
    parser.add_argument("--endpoint", required=True, help="client address of a node, host:port")
    parser.add_argument("--other-endpoint", required=True, help="client address of another node")
    parser.add_argument("--authority", required=True, help="PEM of the authority of the nodes' certificates")
    parser.add_argument("--hr", required=True, help="directory of the certificate that may tokenize")
    parser.add_argument("--payroll", required=True, help="directory of the certificate that may detokenize")
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--scope", required=True)
    parser.add_argument("--purpose", required=True)
    parser.add_argument("--wrong-purpose", required=True)
    parser.add_argument("--number", required=True, help="synthetic")
    arguments = parser.parse_args()

    sys.path.insert(0, arguments.stubs)
    token_pb2 = importlib.import_module("fuda.vault.v1.token_pb2")
    token_pb2_grpc = importlib.import_module("fuda.vault.v1.token_pb2_grpc")

    # Phase 1: hr stores a number at one node and gets a token.
    with channel(arguments.endpoint, arguments.authority, arguments.hr) as connection:
        tokens = token_pb2_grpc.TokenServiceStub(connection)
        stored = tokens.Tokenize(
            token_pb2.TokenizeRequest(
                tenant=arguments.tenant,
                request_id=str(uuid.uuid4()),
                item=token_pb2.TokenizeItem(
                    kind="my_number",
                    number=arguments.number,
                    subject="python-" + "".join(character for character in uuid.uuid4().hex if character.isalpha()),
                    relation=token_pb2.RELATION_SELF,
                    scope=arguments.scope,
                    notified_purposes=[token_pb2.NotifiedPurpose(purpose=arguments.purpose)],
                ),
            ),
            timeout=20,
        )
    assert stored.token.startswith("fuda_"), "a token says what it is"
    assert arguments.number not in stored.token, "a token says nothing"

    # Phase 2: payroll gets it back at another node.
    with channel(arguments.other_endpoint, arguments.authority, arguments.payroll) as connection:
        tokens = token_pb2_grpc.TokenServiceStub(connection)
        request = token_pb2.DetokenizeRequest(
            tenant=arguments.tenant,
            purpose=arguments.purpose,
            scope=arguments.scope,
            token=stored.token,
            request_id=str(uuid.uuid4()),
        )
        revealed = tokens.Detokenize(request, timeout=20)

        # Phase 3: the same for another purpose is refused, with a code a program can read.
        request.purpose = arguments.wrong_purpose
        refusal = None
        try:
            tokens.Detokenize(request, timeout=20)
        except grpc.RpcError as error:
            refusal = error

    result = {
        "detokenized": revealed.number == arguments.number,
        "entry_after_entry": revealed.entry_sequence > stored.entry_sequence,
        "wrong_purpose_refused": refusal is not None and refusal.code() is grpc.StatusCode.PERMISSION_DENIED,
        "error": error_info(refusal) if refusal is not None else {},
        "number_in_error": refusal is not None and arguments.number in str(refusal),
    }
    print(json.dumps(result, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
