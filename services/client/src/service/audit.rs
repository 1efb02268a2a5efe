//! `fuda.audit.v1.AuditService`: for auditors, asked of fuda-audit and not of a node.

use fuda_proto::audit::v1::{
    DeleteExportRequest, DeleteExportResponse, GetCheckpointRequest, GetCheckpointResponse, GetEntryRequest,
    GetEntryResponse, GetExportRequest, GetExportResponse, GetRetentionRequest, GetRetentionResponse, GetStatusRequest,
    GetStatusResponse, ListEntriesRequest, ListEntriesResponse, ListExportsRequest, ListExportsResponse,
    ListHoldsRequest, ListHoldsResponse, ListReportsRequest, ListReportsResponse, ListSignOffsRequest,
    ListSignOffsResponse, MakeReportRequest, MakeReportResponse, PlaceHoldRequest, PlaceHoldResponse,
    ReadExportRequest, ReadExportResponse, ReadQueriesRequest, ReadQueriesResponse, ReleaseHoldRequest,
    ReleaseHoldResponse, SignOffPeriodRequest, SignOffPeriodResponse, StartExportRequest, StartExportResponse,
    SummarizeRequest, SummarizeResponse, VerifyRequest, VerifyResponse, WhoAccessedRequest, WhoAccessedResponse,
};

use super::{once, repeatable};
use crate::call::Method;
use crate::{Client, Error};

/// The calls of a client whose endpoints are a fuda-audit; see [`crate::Options::audit`].
#[derive(Clone, Copy)]
pub struct Audit<'a>(&'a Client);

impl Client {
    /// Asks fuda-audit.
    #[must_use]
    pub fn audit(&self) -> Audit<'_> {
        Audit(self)
    }
}

macro_rules! calls {
    ($($doc:literal $name:ident $place:ident $kind:ident $path:literal $request:ident $response:ident)+) => {
        $(static $place: Method = $kind(concat!("/fuda.audit.v1.AuditService/", $path));)+

        #[cfg(test)]
        pub(crate) const METHODS: &[&Method] = &[$(&$place),+];

        impl Audit<'_> {
            $(
                #[doc = $doc]
                ///
                /// # Errors
                /// As the API says.
                pub async fn $name(&self, request: $request) -> Result<$response, Error> {
                    self.0.call(&$place, request, "").await
                }
            )+
        }

        $(impl crate::Wipe for $request {
            fn wipe(&mut self) {}
        })+
    };
}

calls! {
    "What was verified, the nodes and the alarms."
    get_status GET_STATUS repeatable "GetStatus" GetStatusRequest GetStatusResponse
    "The newest cosigned checkpoint, and the keys that the witness knows."
    get_checkpoint GET_CHECKPOINT repeatable "GetCheckpoint" GetCheckpointRequest GetCheckpointResponse
    "One entry with what proves it."
    get_entry GET_ENTRY repeatable "GetEntry" GetEntryRequest GetEntryResponse
    "A page of entries that meet a filter."
    list_entries LIST_ENTRIES repeatable "ListEntries" ListEntriesRequest ListEntriesResponse
    "Counts by fields and time."
    summarize SUMMARIZE repeatable "Summarize" SummarizeRequest SummarizeResponse
    "Who did what with the numbers of one person."
    who_accessed WHO_ACCESSED repeatable "WhoAccessed" WhoAccessedRequest WhoAccessedResponse
    "What auditors asked."
    read_queries READ_QUERIES repeatable "ReadQueries" ReadQueriesRequest ReadQueriesResponse
    "Begins an export."
    start_export START_EXPORT once "StartExport" StartExportRequest StartExportResponse
    "How far an export is."
    get_export GET_EXPORT repeatable "GetExport" GetExportRequest GetExportResponse
    "The exports of the caller."
    list_exports LIST_EXPORTS repeatable "ListExports" ListExportsRequest ListExportsResponse
    "The next bytes of an export's file."
    read_export READ_EXPORT repeatable "ReadExport" ReadExportRequest ReadExportResponse
    "Ends an export and removes its file."
    delete_export DELETE_EXPORT once "DeleteExport" DeleteExportRequest DeleteExportResponse
    "Hashes stored entries anew."
    verify VERIFY repeatable "Verify" VerifyRequest VerifyResponse
    "Keeps that the caller has reviewed a period."
    sign_off_period SIGN_OFF_PERIOD once "SignOffPeriod" SignOffPeriodRequest SignOffPeriodResponse
    "The sign-offs of a tenant."
    list_sign_offs LIST_SIGN_OFFS repeatable "ListSignOffs" ListSignOffsRequest ListSignOffsResponse
    "How long entries are kept, and what was removed."
    get_retention GET_RETENTION repeatable "GetRetention" GetRetentionRequest GetRetentionResponse
    "Keeps entries although their time is over."
    place_hold PLACE_HOLD once "PlaceHold" PlaceHoldRequest PlaceHoldResponse
    "Ends a hold."
    release_hold RELEASE_HOLD once "ReleaseHold" ReleaseHoldRequest ReleaseHoldResponse
    "The holds that reach no further than the caller sees."
    list_holds LIST_HOLDS repeatable "ListHolds" ListHoldsRequest ListHoldsResponse
    "Which documents there are."
    list_reports LIST_REPORTS repeatable "ListReports" ListReportsRequest ListReportsResponse
    "A document of a tenant's entries."
    make_report MAKE_REPORT repeatable "MakeReport" MakeReportRequest MakeReportResponse
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn every_call_is_one_of_the_api() {
        let descriptors = prost_types::FileDescriptorSet::decode(fuda_proto::AUDIT_DESCRIPTORS).unwrap();
        let services = descriptors.file.iter().filter(|file| file.package() == "fuda.audit.v1");
        let known: Vec<String> = services
            .flat_map(|file| &file.service)
            .flat_map(|service| {
                service.method.iter().map(|method| format!("/fuda.audit.v1.{}/{}", service.name(), method.name()))
            })
            .collect();
        for method in METHODS {
            assert!(known.iter().any(|known| known == method.path), "{}", method.path);
        }
    }
}
