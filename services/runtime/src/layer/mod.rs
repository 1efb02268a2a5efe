//! The tower layers in front of every gRPC service, outermost first:
//!
//! ```text
//! Server::builder()
//!     .layer(CallLayer::new(&meter, telemetry.sampling(), METHODS))   // measures everything below, refusals included
//!     .layer(AdmissionLayer::new(options))                            // refuses what would only wait, ends what is late
//!     .layer(AuthenticationLayer::new(callers))                       // nobody unknown comes further
//!     .layer(DenialLayer)                                             // denials leave on a grid of time
//! ```

mod admission;
mod authenticate;
mod call;
mod callers;
mod denials;
mod status;
mod trace;

pub use admission::{AdmissionLayer, AdmissionOptions, AdmissionService, AdmittedBody, CallerOf, Deadline};
pub use authenticate::{Authenticate, AuthenticationLayer, AuthenticationService};
pub use call::{CallBody, CallLayer, CallService};
pub use callers::CallerOptions;
pub use denials::{DenialLayer, DenialService, Denials};
pub use trace::{CallTrace, Sampling};
