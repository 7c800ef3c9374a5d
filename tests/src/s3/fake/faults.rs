//! What a fake store does wrong on purpose.

use std::time::Duration;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// GetObject.
    Get,
    /// HeadObject.
    Head,
    /// PutObject.
    Put,
    /// DeleteObject.
    Delete,
    /// ListObjectsV2.
    List,
    /// HeadBucket.
    HeadBucket,
    /// CreateBucket.
    CreateBucket,
    /// Anything else, which the fake does not know.
    Other,
}

/// The switches. The default is a store without faults, as strict as S3 itself.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// PutObject overwrites in spite of `if-none-match: *`, and answers 200 (as Garage does).
    pub ignores_if_none_match: bool,
    /// PutObject with `if-none-match` is answered 501 NotImplemented.
    pub refuses_if_none_match: bool,
    /// While a conditional PutObject of a key is under way, another one is answered 409 ConditionalRequestConflict.
    pub conflicts_on_race: bool,
    /// So many conditional PutObject are answered 409, though there is no race.
    pub conflicts: usize,
    /// PutObject stores whatever comes, checksum or not.
    pub ignores_checksum: bool,
    /// PutObject stores the bytes first, compares them afterwards, and leaves them there (as s3s-fs does).
    pub stores_before_checking: bool,
    /// PutObject with `x-amz-copy-source` copies, also where that header is not signed.
    pub copies_unsigned: bool,
    /// PutObject answers 200 and keeps nothing.
    pub forgets: bool,
    /// HeadObject and GetObject do not tell checksums.
    pub hides_checksums: bool,
    /// Objects younger than this are not listed.
    pub list_lags: Duration,
    /// Objects younger than this cannot be read.
    pub read_lags: Duration,
    /// A page of a listing has at most so many keys and prefixes (0: as many as asked for, at most 1,000).
    pub page_size: usize,
    /// What the key may not do: an action, on keys that begin with a text. Without the right to list, an object that
    /// is not there is answered 403 instead of 404, as S3 does.
    pub denied: Vec<(Action, String)>,
    /// The store's clock is ahead of ours by so many seconds.
    pub clock_ahead: i64,
    /// The session token that goes with the key has expired.
    pub token_expired: bool,
    /// What goes wrong in between. The first one that applies to a request decides.
    pub troubles: Vec<Trouble>,
}

impl Faults {
    /// With one more trouble.
    pub fn trouble(mut self, what: Answer, when: When, action: Option<Action>) -> Self {
        self.troubles.push(Trouble { what, when, action });
        self
    }
}

/// Something that goes wrong with some requests.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// What happens instead of the right answer.
    pub what: Answer,
    /// To which of the requests.
    pub when: When,
    /// To requests of this kind only.
    pub action: Option<Action>,
}

/// Which of the requests that a trouble may happen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// All of them.
    Always,
    /// The next so many.
    Next(usize),
    /// All but the first so many.
    After(usize),
    /// Each so manieth, beginning with that one.
    OneIn(usize),
}

/// A wrong answer.
#[derive(Debug, Clone)]
pub enum Answer {
    /// 503 SlowDown, perhaps with `retry-after` (seconds).
    SlowDown(Option<u32>),
    /// 500 InternalError.
    InternalError,
    /// 429 TooManyRequests, perhaps with `retry-after` (seconds).
    TooMany(Option<u32>),
    /// Any status with any body and content type.
    Other(u16, &'static str, &'static str),
    /// 200 with a page of HTML, as a proxy that wants a login answers.
    Html,
    /// The request is carried out, but the body of the answer ends in the middle.
    Truncated,
    /// The request is carried out, but a byte in the middle of the answer's body is another one.
    Flipped,
    /// The connection is closed, and the request is not carried out.
    Dropped,
    /// The request is carried out, and the connection closed without an answer.
    Unanswered,
    /// Nothing comes for so long, then the right answer.
    Late(Duration),
    /// 307 with this address; the request is not carried out.
    Redirect(String),
}

/// Counts the requests that a trouble could have happened to.
pub(super) fn applies(trouble: &Trouble, seen: &mut usize, action: Action) -> bool {
    if trouble.action.is_some_and(|only| only != action) {
        return false;
    }
    *seen += 1;
    match trouble.when {
        When::Always => true,
        When::Next(count) => *seen <= count,
        When::After(count) => *seen > count,
        When::OneIn(count) => seen.is_multiple_of(count),
    }
}
