//! Sizes as people write them.

/// A number of bytes such as `100M`, `2GiB` or `1.5T`: units count in 1024s, as they do wherever sizes are printed.
pub fn parse(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is no size; write a number of bytes, or one with K, M, G or T: 100M, 2GiB");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let power = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == unit).ok_or_else(bad)?;
    let factor = 1u64 << (10 * power);
    match number.parse::<u64>() {
        Ok(number) => number.checked_mul(factor).ok_or_else(bad),
        Err(_) => {
            let bytes = number.parse::<f64>().map_err(|_| bad())? * factor as f64;
            if bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(bad()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1234", 1234),
            ("5b", 5),
            ("100M", 100 << 20),
            ("100mb", 100 << 20),
            ("2GiB", 2 << 30),
            ("2 GiB", 2 << 30),
            ("1.5k", 1536),
            ("3T", 3 << 40),
        ] {
            assert_eq!(parse(text).expect(text), bytes, "{text}");
        }
        for bad in ["", "M", "-1", "1X", "1iB1", "1.2.3", "99999999999P", "1e3", ".", "20000000000.5G", "ib", "NaN"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
