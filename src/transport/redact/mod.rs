//! What is secret of a server's description, taken out of what it says of itself.
//!
//! Some servers tell the token that they could not use, and their words become part of an error. [`find`] looks for secrets in the
//! description, by their places, names and [`forms`], and [`mask`] takes them out of texts, in each of their [`encodings`].

mod connections;
mod encodings;
pub(super) mod find;
mod forms;
mod lists;
pub(super) mod mask;
mod names;
mod paths;
mod urls;
