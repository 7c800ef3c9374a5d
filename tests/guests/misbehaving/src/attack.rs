//! What can be done to a host at any place of the contract.

use std::hint::black_box;

/// What `describe` does, which is told no options: tests replace the end of it in the component, byte by byte.
static DESCRIBE: [u8; 16] = *b"describe:nothing";

/// Suffers what is asked for as `PLACE:ATTACK`, such as `open:panic`, if this is the place.
pub fn at(place: &str, manner: &str) {
    let Some(attack) = manner.strip_prefix(place).and_then(|rest| rest.strip_prefix(':')) else { return };
    match attack {
        "panic" => panic!("deliberate, in {place}"),
        "loop" => loop {
            black_box(0);
        },
        "memory" => {
            let mut eaten: Vec<Vec<u8>> = Vec::new();
            loop {
                eaten.push(vec![1; 1 << 20]);
            }
        }
        "stack" => drop(black_box(deeper(1))),
        "flood" => (0..20_000).for_each(|line| println!("{line} {}", "x".repeat(1000))),
        _ => {}
    }
}

/// The same for `describe`.
pub fn at_describe() {
    at("describe", String::from_utf8_lossy(black_box(&DESCRIBE)).trim_end_matches('_'));
}

#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    black_box([depth; 16]);
    deeper(depth + 1) + black_box(depth)
}
