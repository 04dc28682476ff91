//! docmill: batch document processing for Amazon Bedrock.
//!
//! It reads documents from S3 or a folder, extracts their text, counts tokens, cuts them into chunks with overlap, sends
//! each chunk to the cheapest model that fits, merges the partial answers of each document, and writes the result back.
//!
//! ```text
//! list -> fetch -> extract -> count -> chunk -> route -> dispatch -> merge -> sink
//!  S3      S3      rayon      rayon    rayon    pure     async       pure     S3
//! ```
//!
//! # The rooms
//!
//! In the order of the data; a room imports only rooms above it (`tests/house.rs` holds them to it).
//!
//! Pure (no tokio, no AWS, no files, no clock, no environment):
//!
//! | room | what it owns |
//! |---|---|
//! | [`domain`] | money and tokens as integers, documents and their text, chunks, calls and replies, events |
//! | [`catalog`] | the models: windows, prices, what they refuse, when they end |
//! | [`tokens`] | counting a text, exactly for public vocabularies (tables made by `build.rs`), with a bound for the others |
//! | [`chunk`] | text, size and overlap to chunks that end at the best boundary |
//! | [`extract`] | bytes to text: what a document is, its character set, its layout, its language; members of archives |
//! | [`family`] | a call to the native request body of its model's family, and an answer's body back to a reply |
//! | [`merge`] | from the answers so far to the next calls, at last to the result; what an answer says that its sources do not |
//! | [`sink`] | results to bytes, one file a format |
//! | [`pipeline`] | the pipeline file as typed to a `Pipeline` that can not be invalid; prompts and their fences |
//! | [`plan`] | the route of each call and why, the calls of each document, what they cost and how long they take |
//!
//! Engines (tokio, no AWS):
//!
//! | room | what it owns |
//! |---|---|
//! | [`cpu`] | the one door from async to the CPU pool |
//! | [`isolate`] | the door to a child process in which foreign formats are read |
//! | [`store`] | objects by key: the trait, a folder, memory |
//! | [`ledger`] | paid answers and states of documents, in the sink: replay, compaction, fencing |
//! | [`source`] | which documents: listing, globs, own output left out |
//! | [`dispatch`] | which call goes out when, to which model: quota pools, priority, budget, retries, fallbacks |
//! | [`report`] | events to totals, progress, tables, the run report; models side by side |
//!
//! Edges:
//!
//! | room | what it owns |
//! |---|---|
//! | [`aws`] | S3 as a store, Bedrock as a model, the account's quotas and models; errors are classified here |
//! | [`run`] | where the rooms meet: one loop that orders everything |
//! | [`sandbox`] | an S3 server and a Bedrock stand-in on a local port |
//! | [`cli`] | flags, exit codes, what goes to stdout and what to stderr |
//!
//! # Invariants
//!
//! 1. Only `aws` and `sandbox` name an AWS crate.
//! 2. Pure rooms can not fail from outside: time, seeds and dates are arguments.
//! 3. A [`pipeline::Pipeline`] is valid, and a [`plan::DocumentPlan`] is complete: `plan` prints what `run` executes.
//! 4. A call is announced in the ledger before it is sent, and its answer is there before anything else sees it.
//! 5. Every document ends in exactly one state, and the counts add up.
//! 6. One retry layer (the SDK's is off for models), one writer of the ledger, one loop that orders events.
//! 7. Sinks and reports make bytes; only stores write.
//! 8. The sandbox imports nothing that makes requests or reads answers.
//! 9. Same document, same pipeline: the same requests and the same result, to the byte, in whatever order answers come.
//!
//! Where to add something: a document format in [`extract`], a model's body in [`family`], a merge strategy in [`merge`], an output in [`sink`]: one
//! file, one `match` arm that the compiler asks for, one fixture.

#![forbid(unsafe_code)]

pub mod domain;
pub mod catalog;
pub mod tokens;
pub mod chunk;
pub mod extract;
pub mod family;
pub mod merge;
pub mod sink;
pub mod pipeline;
pub mod plan;
pub mod cpu;
pub mod isolate;
pub mod store;
pub mod ledger;
pub mod source;
pub mod dispatch;
pub mod report;
pub mod aws;
pub mod run;
pub mod sandbox;
pub mod cli;
