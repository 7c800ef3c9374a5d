//! Small values that several chunks share: times, writer tags, ids in CBOR.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};

use crate::crypto::random;

/// A point in time: seconds since 1970 (may be negative) and nanoseconds (0 to 999,999,999).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode)]
#[cbor(array)]
pub struct Time {
    /// Seconds since 1970-01-01T00:00:00Z.
    #[n(0)]
    pub seconds: i64,
    /// Nanoseconds behind that second.
    #[n(1)]
    pub nanoseconds: u32,
}

impl<'b, C> Decode<'b, C> for Time {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        if d.array()? != Some(2) {
            return Err(DecodeError::message("a time is an array of two"));
        }
        let time = Time { seconds: d.i64()?, nanoseconds: d.u32()? };
        if time.nanoseconds < 1_000_000_000 {
            Ok(time)
        } else {
            Err(DecodeError::message("a time has fewer than 1,000,000,000 nanoseconds"))
        }
    }
}

impl Time {
    /// Now.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// RFC 3339 in UTC, to the second.
    pub fn to_rfc3339(self) -> String {
        match jiff::Timestamp::new(self.seconds, 0) {
            Ok(time) => time.to_string(),
            Err(_) => format!("{}s after 1970", self.seconds),
        }
    }

    /// Local time, for people: `2026-11-21 09:54:00`.
    pub fn to_local(self) -> String {
        match jiff::Timestamp::new(self.seconds, 0) {
            Ok(time) => time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
            Err(_) => format!("{}s after 1970", self.seconds),
        }
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Time { seconds: after.as_secs() as i64, nanoseconds: after.subsec_nanos() },
            Err(before) => {
                let before: Duration = before.duration();
                let whole = before.as_secs() as i64;
                match before.subsec_nanos() {
                    0 => Time { seconds: -whole, nanoseconds: 0 },
                    nanoseconds => Time { seconds: -whole - 1, nanoseconds: 1_000_000_000 - nanoseconds },
                }
            }
        }
    }
}

/// A client's random name in labels and signatures: 8 bytes, written as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriterTag(pub [u8; 8]);

impl WriterTag {
    /// A fresh random tag.
    pub fn random() -> Self {
        WriterTag(random())
    }
}

impl fmt::Display for WriterTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for WriterTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriterTag({self})")
    }
}

impl FromStr for WriterTag {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut tag = [0; 8];
        hex::decode_to_slice(text, &mut tag)?;
        Ok(WriterTag(tag))
    }
}

impl<C> Encode<C> for WriterTag {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for WriterTag {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        d.bytes()?.try_into().map(WriterTag).map_err(|_| DecodeError::message("a writer tag has 8 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_out_of_range_are_refused() {
        for (nanoseconds, good) in [(0, true), (999_999_999, true), (1_000_000_000, false), ((1 << 30) - 1, false)] {
            let bytes = crate::format::to_cbor(&Time { seconds: -5, nanoseconds });
            assert_eq!(crate::format::from_cbor::<Time>(&bytes).is_ok(), good, "{nanoseconds}");
        }
    }

    #[test]
    fn times_before_1970() {
        let time = UNIX_EPOCH - Duration::from_millis(1500);
        assert_eq!(Time::from(time), Time { seconds: -2, nanoseconds: 500_000_000 });
        assert_eq!(Time::from(UNIX_EPOCH - Duration::from_secs(3)), Time { seconds: -3, nanoseconds: 0 });
        assert_eq!(Time { seconds: 0, nanoseconds: 5 }.to_rfc3339(), "1970-01-01T00:00:00Z");
    }
}
