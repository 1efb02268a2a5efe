//! Every limit of a request, with its unit in its name. A limit that is configurable is named `_DEFAULT`.

/// Items in one batch call. Larger jobs are split by the client.
pub const BATCH_ITEMS_MAX: usize = 1_000;
/// Bytes of one request message, headers excluded (1 MiB).
pub const REQUEST_BYTES_MAX: usize = 1_048_576;
/// Bytes of a number as the caller typed it, before normalisation.
pub const NUMBER_INPUT_BYTES_MAX: usize = 256;
/// Bytes of a number after normalisation.
pub const NUMBER_BYTES_MAX: usize = 40;
/// Characters of a token in its text form.
pub const TOKEN_CHARS: usize = 48;
/// Purposes notified to the person for one record.
pub const NOTIFIED_PURPOSES_MAX: usize = 64;
/// Live tokens of one record: one per scope.
pub const TOKENS_PER_RECORD_MAX: usize = 32;
/// Sealed replies a record remembers beside that of the call that made it. One more takes the place of the oldest,
/// whose retry is then no longer recognised.
pub const REPLIES_PER_RECORD_MAX: usize = 16;
/// Characters (Unicode scalar values) of a notice's version.
pub const NOTICE_VERSION_CHARS_MAX: usize = 64;
/// Sorts of documents in one record of an identity check.
pub const VERIFICATION_DOCUMENTS_MAX: usize = 8;
/// Characters (Unicode scalar values) of the reference to whoever checked an identity.
pub const VERIFIER_CHARS_MAX: usize = 64;
/// Characters that a masked reveal shows at most, and never more than half of the number.
pub const MASKED_CHARS_SHOWN_MAX: usize = 4;
/// Bytes of a subject reference.
pub const SUBJECT_BYTES_MAX: usize = 64;
/// Characters (Unicode scalar values) of a work reference.
pub const WORK_REFERENCE_CHARS_MAX: usize = 128;
/// Bytes of a tenant id.
pub const TENANT_BYTES_MAX: usize = 40;
/// Bytes of a scope id.
pub const SCOPE_BYTES_MAX: usize = 32;
/// Bytes of a record label and of the name of a source zone.
pub const LABEL_BYTES_MAX: usize = SCOPE_BYTES_MAX;
/// Bytes of a caller id (a SPIFFE id).
pub const CALLER_BYTES_MAX: usize = 255;
/// Bytes of a purpose code.
pub const PURPOSE_CODE_BYTES_MAX: usize = 64;
/// Purposes in one catalogue.
pub const PURPOSES_PER_CATALOGUE_MAX: usize = 1_024;
/// Characters of one text (name, basis, note) of a purpose.
pub const PURPOSE_TEXT_CHARS_MAX: usize = 512;
/// Purposes that one change of the catalogue adds, edits or retires, or that one order enables or disables.
pub const PURPOSES_PER_CHANGE_MAX: usize = 64;
/// Characters of the reason of an override, lower bound: a word is no reason.
pub const OVERRIDE_REASON_CHARS_MIN: usize = 20;
/// Days that a grant for a purpose that needs two people may be in force.
pub const TWO_PERSON_DAYS_MAX: u16 = 7;
/// Days that a grant which hands out My Numbers may be in force from when it is proposed or approved: a year and a leap
/// day. Then two people grant it again, or nobody needs it any more.
pub const FILE_GRANT_DAYS_MAX: u32 = 366;
/// Bytes of a catalogue in its TOML form.
pub const CATALOGUE_BYTES_MAX: usize = 524_288;
/// Rows of one page of a listing.
pub const PAGE_SIZE_MAX: usize = 1_000;
/// Rows of one page of a listing when the caller names no size.
pub const PAGE_SIZE_DEFAULT: usize = 100;
/// Bytes of an opaque page token.
pub const PAGE_TOKEN_BYTES_MAX: usize = 512;
/// Times a call is decided and proposed before it gives up with [`crate::Code::StaleRoundsExhausted`].
pub const PROPOSAL_ROUNDS_MAX: u32 = 3;
/// Guesses, right or wrong, that VerifyNumber allows per caller, record and day, unless the grant sets another value.
pub const VERIFY_GUESSES_PER_DAY_DEFAULT: u32 = 5;
/// Days a sealed reply is kept for a retry (年末年始 is longer than a day).
pub const REPLY_RETENTION_DAYS: u32 = 14;
/// Milliseconds a node's clock may differ from the majority's before the node is no longer ready.
pub const CLOCK_SKEW_MS_MAX: i64 = 2_000;
/// Grants one caller may hold.
pub const GRANTS_PER_CALLER_MAX: usize = 64;
/// Tenants of one vault.
pub const TENANTS_PER_VAULT_MAX: usize = 10_000;
/// Approvers named at bootstrap, lower bound: changing policy takes two different people.
pub const APPROVERS_MIN: usize = 2;
/// Approvers of one tenant.
pub const APPROVERS_MAX: usize = 32;
/// Minutes that a grant given on request may last (a day).
pub const ACCESS_MINUTES_MAX: u32 = 1_440;
/// Distinct persons that a grant given on request may reveal.
pub const ACCESS_PERSONS_MAX: u32 = 100_000;
/// Distinct persons of a request when the requester's grant names no limit.
pub const ACCESS_PERSONS_DEFAULT: u32 = 100;
/// Approvers that one request may need.
pub const ACCESS_APPROVALS_MAX: u8 = 8;
/// Days in which a request must be decided; then it has lapsed.
pub const ACCESS_OPEN_DAYS_MAX: u32 = 7;
/// Requests of one tenant that may be open at a time.
pub const ACCESS_OPEN_MAX: usize = 1_000;
/// Days for which a request that is over stays listed; its entries stay in the ledger.
pub const ACCESS_CLOSED_KEPT_DAYS: u32 = 90;
/// Minutes that a break-glass grant may last.
pub const BREAK_GLASS_MINUTES_MAX: u32 = 60;
/// Distinct persons that a break-glass grant may reveal.
pub const BREAK_GLASS_PERSONS_MAX: u32 = 100;
/// Days in which a break-glass must be reviewed; after them nobody of the tenant may break the glass.
pub const BREAK_GLASS_REVIEW_DAYS_MAX: u32 = 7;
/// Days that a grant of an operator may last; then owner and approver renew it.
pub const OPERATOR_GRANT_DAYS_MAX: u32 = 90;
/// Characters (Unicode scalar values) of the name of the natural person behind a grant.
pub const PERSON_NAME_CHARS_MAX: usize = 64;
/// Bytes of the id of an entrusted party.
pub const PARTY_BYTES_MAX: usize = 40;
/// Recipients of sealed numbers that a tenant may have registered at a time.
pub const RECIPIENTS_PER_TENANT_MAX: usize = 64;
/// Recipients registered or withdrawn by one order.
pub const RECIPIENTS_PER_CHANGE_MAX: usize = 16;
/// Characters (Unicode scalar values) of the name of a recipient.
pub const RECIPIENT_NAME_CHARS_MAX: usize = 64;
/// Purposes that one recipient may be registered for.
pub const RECIPIENT_PURPOSES_MAX: usize = 64;
/// Days that a recipient may stay registered; then two people register it again.
pub const RECIPIENT_DAYS_MAX: u32 = 366;
/// Hours that an offer of a number to another tenant may stand (14 days).
pub const TRANSFER_HOURS_MAX: u32 = 336;
/// Hours that an offer stands when its caller names none (7 days).
pub const TRANSFER_HOURS_DEFAULT: u32 = 168;
/// Offline keys that can be registered for succession.
pub const SUCCESSION_KEYS_MAX: usize = 16;
/// Shortest delay of a succession, in hours: time for a living approver to cancel it.
pub const SUCCESSION_DELAY_HOURS_MIN: u32 = 24;
/// Delay of a succession when the bootstrap names none, in hours.
pub const SUCCESSION_DELAY_HOURS_DEFAULT: u32 = 72;
/// Longest delay of a succession, in hours (30 days).
pub const SUCCESSION_DELAY_HOURS_MAX: u32 = 720;
/// Buckets of the shared key domain.
pub const SHARED_BUCKETS: u16 = 4_096;
/// Bytes of the secret a client draws for retries.
pub const RETRY_SECRET_BYTES: usize = 32;
/// Longest a call may run, whatever deadline the caller asks for, in milliseconds.
pub const DEADLINE_MS_MAX: u64 = 60_000;
/// Deadline of a call whose caller names none, in milliseconds.
pub const DEADLINE_MS_DEFAULT: u64 = 10_000;
/// Things that are frozen at a time in one vault.
pub const FREEZES_PER_VAULT_MAX: usize = 1_000;
/// Canary tokens of one vault, retired ones that are still listed included.
pub const CANARIES_PER_VAULT_MAX: usize = 1_000;
/// Characters (Unicode scalar values) of the reason of a freeze or a thaw.
pub const FREEZE_REASON_CHARS_MAX: usize = 256;
/// Bytes of the alias of an OpenID provider in a caller id.
pub const PROVIDER_BYTES_MAX: usize = 32;
/// Bytes of a bearer token or an end-user assertion.
pub const JWT_BYTES_MAX: usize = 8_192;
/// Seconds an end-user assertion may live, from `iat` to `exp`.
pub const ASSERTION_LIFETIME_S_MAX: i64 = 300;
/// Seconds that clocks of token issuers may differ from the majority's time.
pub const JWT_LEEWAY_S_MAX: i64 = 60;
/// Unexpired end-user assertions that the state remembers, so that none is used twice; more are refused.
pub const ASSERTIONS_REMEMBERED_MAX: usize = 1_000_000;
/// Denials of one caller within [`DENIAL_BURST_MINUTES`] that raise an alarm.
pub const DENIAL_BURST_DENIALS: usize = 20;
/// Minutes in which [`DENIAL_BURST_DENIALS`] are counted.
pub const DENIAL_BURST_MINUTES: i64 = 5;
/// Denials of one caller, tenant, action and reason that are entries of their own within a minute; more are counted and
/// entered as one. More than the rules above need to see a burst.
pub const DENIALS_ENTERED_PER_MINUTE_MAX: u32 = 100;
/// Sorts of denials that are counted at a time; denials of further sorts are entered one by one.
pub const DENIAL_FOLDS_OPEN_MAX: usize = 10_000;
/// Minutes of counted denials that one command closes; the rest is left to the next one.
pub const DENIAL_FOLDS_CLOSED_MAX: usize = 1_000;
/// Counts of calls per grant, and of denials per caller, that one step of bookkeeping removes once they mean nothing any
/// more; the rest is left to the next one.
pub const BRAKE_ROWS_FORGOTTEN_MAX: usize = 1_000;
/// Denials that are found by their request id, the newest ones. All are in the ledger.
pub const DENIALS_EXPLAINED_MAX: usize = 100_000;
/// Unknown tokens presented by one caller within [`ENUMERATION_MINUTES`] that raise an alarm.
pub const ENUMERATION_UNKNOWN_TOKENS: usize = 10;
/// Minutes in which [`ENUMERATION_UNKNOWN_TOKENS`] are counted.
pub const ENUMERATION_MINUTES: i64 = 5;
/// Hour at which the people of a tenant begin to work, unless the tenant says otherwise.
pub const OFFICE_FROM_HOUR_DEFAULT: u16 = 6;
/// Hour at which they have ended.
pub const OFFICE_TO_HOUR_DEFAULT: u16 = 22;
/// Days on which nobody works that a tenant may name.
pub const TENANT_HOLIDAYS_MAX: usize = 366;
/// Sinks that the ledger is exported to, those that are used no more included.
pub const SINKS_MAX: usize = 16;
/// Witnesses whose cosignatures are kept, those whose keys are used no more included.
pub const WITNESSES_MAX: usize = 16;
/// Days for which the nodes keep entries.
pub const LEDGER_DAYS_MIN: u32 = 1;
/// Days for which the nodes keep entries when an order names none: a quarter of a year and its sign-off.
pub const LEDGER_DAYS_DEFAULT: u32 = 90;
/// The most days for which the nodes keep entries: ten years. Longer is what fuda-audit is for.
pub const LEDGER_DAYS_MAX: u32 = 3_650;
/// Entries that one step of pruning removes; at least as many as one command makes.
pub const PRUNE_STEP_ENTRIES_MAX: u64 = 16_384;
/// Entries that are sent to a sink at once.
pub const SINK_BATCH_ENTRIES_MAX: usize = 512;
/// Entries that one step of a sink's cursor covers: an object of a store is acknowledged as a whole.
pub const SINK_STEP_ENTRIES_MAX: usize = 65_536;
/// Entries a sink refused for good that its cursor lists by their sequence, the newest ones; all are counted.
pub const SINK_REJECTED_LISTED_MAX: usize = 32;
