//! Why somebody was not believed: for logs and metrics, never for the caller.

/// Why a credential was refused. Carries no value of the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[error("{}", self.code())]
pub enum Reason {
    /// Neither a certificate nor a token.
    NoCredential,
    /// A certificate and a token, or two tokens: nobody chooses between two identities.
    TwoCredentials,
    /// No token of this sort is accepted here.
    NotConfigured,
    /// The certificate of the connection has expired meanwhile.
    CertificateExpired,
    /// The certificate or the caller is revoked.
    Revoked,
    /// The caller is on no rule of those who may call.
    NotAllowed,
    /// Longer than [`fuda_core::limits::JWT_BYTES_MAX`].
    TooLarge,
    /// Not three parts of base64url with JSON objects in the first two, or a member twice.
    Malformed,
    /// A header member that is not expected: `crit`, `jwk`, `jku`, `x5u`, `cty`, …
    HeaderMember,
    /// A type in the header that is not a plain token's.
    TokenType,
    /// The algorithm is not allowed for the issuer.
    Algorithm,
    /// No issuer of this name is configured.
    UnknownIssuer,
    /// The issuer has no key of this id, or the token names none.
    UnknownKey,
    /// The signature does not hold.
    Signature,
    /// A claim is missing or of the wrong type.
    Claim,
    /// Not for us.
    Audience,
    /// Past its end.
    Expired,
    /// Before its beginning, or issued in the future.
    NotYetValid,
    /// Lives longer than the issuer's tokens may.
    Lifetime,
    /// The name inside cannot be a caller.
    Subject,
    /// Bound to another workload, or made for another client.
    Binding,
    /// Not the answer to the sign-in that we began.
    Nonce,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 22] = [
        Self::NoCredential,
        Self::TwoCredentials,
        Self::NotConfigured,
        Self::CertificateExpired,
        Self::Revoked,
        Self::NotAllowed,
        Self::TooLarge,
        Self::Malformed,
        Self::HeaderMember,
        Self::TokenType,
        Self::Algorithm,
        Self::UnknownIssuer,
        Self::UnknownKey,
        Self::Signature,
        Self::Claim,
        Self::Audience,
        Self::Expired,
        Self::NotYetValid,
        Self::Lifetime,
        Self::Subject,
        Self::Binding,
        Self::Nonce,
    ];

    /// The stable label in metrics and logs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::TwoCredentials => "two_credentials",
            Self::NotConfigured => "not_configured",
            Self::CertificateExpired => "certificate_expired",
            Self::Revoked => "revoked",
            Self::NotAllowed => "not_allowed",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::HeaderMember => "header_member",
            Self::TokenType => "token_type",
            Self::Algorithm => "algorithm",
            Self::UnknownIssuer => "unknown_issuer",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Claim => "claim",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Lifetime => "lifetime",
            Self::Subject => "subject",
            Self::Binding => "binding",
            Self::Nonce => "nonce",
        }
    }
}
