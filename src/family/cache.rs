//! Where prompt caching, which is asked for by marks in the request, puts its marks.

use crate::catalog::Model;
use crate::domain::Call;

/// The call wants its shared prefix to be kept, and the model takes cache points (User Guide, "Prompt caching"): one
/// stands after the system prompt. Other models keep prefixes by themselves or not at all, and refuse the mark.
pub fn caches(model: &Model, call: &Call) -> bool {
    call.cached_bytes > 0 && model.cache.is_some()
}

/// Where in `call.user` the cache point stands, in bytes; 0 for none. With attachments, which come first and are the
/// call's own, a prefix would be written for each call and read by none.
pub fn shared_bytes(model: &Model, call: &Call) -> usize {
    match caches(model, call) && call.attachments.is_empty() {
        true => call.user.floor_char_boundary(call.cached_bytes),
        false => 0,
    }
}
