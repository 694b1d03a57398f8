//! The figures that actors give to the host's metrics, each from the actor that owns it; see
//! [`observability`](crate::observability). Without the feature `metrics` there is nothing here that does anything.

#[cfg(feature = "metrics")]
mod names;
#[cfg(not(feature = "metrics"))]
mod off;
#[cfg(feature = "metrics")]
mod registry;
#[cfg(feature = "metrics")]
mod router;
#[cfg(feature = "metrics")]
mod server;

#[cfg(feature = "metrics")]
pub(crate) use names::describe;
#[cfg(not(feature = "metrics"))]
pub(crate) use off::*;
#[cfg(feature = "metrics")]
pub(crate) use registry::{RegistryMeters, router_restarted};
#[cfg(feature = "metrics")]
pub(crate) use router::RouterMeters;
#[cfg(feature = "metrics")]
pub(crate) use server::ServerMeters;
