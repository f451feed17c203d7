//! Fuzzing on stable Rust: damaged copies of a small corpus, given to a reader of foreign bytes.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::Random;

/// The variable that says for how many seconds each reader is given input. Without it there are
/// [`EXECUTIONS`] from the same series.
const SECONDS: &str = "FAME_FUZZ_SECONDS";

/// The variable that chooses another series.
const SEED: &str = "FAME_FUZZ_SEED";

/// Inputs where no time is given.
const EXECUTIONS: u64 = 300;

/// The longest time that one input may take: what takes longer hangs. Readers take milliseconds,
/// and seconds where they bring files to a disk that others keep busy.
const HANG: Duration = Duration::from_mins(1);

/// No input grows beyond this, in bytes, or beyond twice the largest of the corpus.
const LARGEST: usize = 1 << 16;

/// The result of fuzzing one reader.
#[derive(Clone, Copy, Debug)]
pub struct Fuzzed {
    /// Inputs that it was given.
    pub executions: u64,
    /// The time that they took.
    pub time: Duration,
    /// The longest time that one took.
    pub slowest: Duration,
}

/// Gives `target` damaged copies of `corpus`: bits and bytes changed, numbers set to their limits,
/// pieces removed, repeated and taken from one another, and `words` put in. It may return what it
/// likes; what it must not do is panic, hang or end the process. Whole copies come first.
///
/// With `FAME_FUZZ_SECONDS` set it goes on for that long, and each input lies in the temporary
/// folder, `fame-fuzz-NAME.input`, while it is read: what ends the process is found there.
/// `FAME_FUZZ_SEED` chooses another series.
///
/// # Panics
/// When `target` does; the input is kept as `fame-fuzz-NAME.panic` in the temporary folder.
pub fn fuzz(name: &str, corpus: &[Vec<u8>], words: &[&str], target: impl Fn(&[u8])) -> Fuzzed {
    let number = |variable: &str| std::env::var(variable).ok().and_then(|v| v.parse::<u64>().ok());
    let seconds = number(SECONDS);
    let mut mutator = Mutator {
        corpus,
        words,
        random: Random::new(number(SEED).unwrap_or(1)),
        most: corpus.iter().map(|seed| 2 * seed.len()).max().unwrap_or(0).max(LARGEST),
    };
    let kept = |ending: &str| std::env::temp_dir().join(format!("fame-fuzz-{name}.{ending}"));
    let watch = Watch::begin(name, kept("input"));
    let began = Instant::now();
    let mut fuzzed = Fuzzed { executions: 0, time: Duration::ZERO, slowest: Duration::ZERO };
    loop {
        let is_over = match seconds {
            Some(seconds) => began.elapsed() >= Duration::from_secs(seconds),
            None => fuzzed.executions >= EXECUTIONS,
        };
        if is_over && fuzzed.executions >= corpus.len() as u64 {
            break;
        }
        let input = match corpus.get(fuzzed.executions as usize) {
            Some(whole) => whole.clone(),
            None => mutator.next(),
        };
        if seconds.is_some() {
            // Where it cannot be kept it is tried all the same.
            let _ = fs::write(kept("input"), &input);
        }
        watch.of(began.elapsed());
        let one = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| target(&input)));
        fuzzed.slowest = fuzzed.slowest.max(one.elapsed());
        if let Err(panic) = result {
            let _ = fs::write(kept("panic"), &input);
            println!("{name}: a panic; the input is {}", kept("panic").display());
            resume_unwind(panic);
        }
        fuzzed.executions += 1;
    }
    fuzzed.time = began.elapsed();
    let _ = fs::remove_file(kept("input"));
    println!(
        "fuzzed {name}: {} inputs in {:.1} s, the slowest in {:.3} s",
        fuzzed.executions,
        fuzzed.time.as_secs_f64(),
        fuzzed.slowest.as_secs_f64()
    );
    fuzzed
}

/// A thread that ends the process when one input takes too long.
struct Watch {
    /// When the input at work was given, in milliseconds since the beginning.
    since: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Watch {
    fn begin(name: &str, place: PathBuf) -> Self {
        let watch = Self { since: Arc::default(), is_over: Arc::default() };
        let (since, is_over) = (watch.since.clone(), watch.is_over.clone());
        let (name, began) = (name.to_owned(), Instant::now());
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(200));
                let since = Duration::from_millis(since.load(Ordering::Relaxed));
                if began.elapsed().saturating_sub(since) > HANG && !is_over.load(Ordering::Relaxed)
                {
                    println!("{name}: an input hangs; with {SECONDS} it is {}", place.display());
                    std::process::exit(101);
                }
            }
        });
        watch
    }

    fn of(&self, since: Duration) {
        self.since.store(since.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// A maker of damaged copies.
struct Mutator<'a> {
    corpus: &'a [Vec<u8>],
    words: &'a [&'a str],
    random: Random,
    most: usize,
}

/// Numbers at which readers go wrong.
const LIMITS: [u64; 16] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// Numbers in texts at which readers go wrong.
const TEXTS: [&str; 12] = [
    "0",
    "-1",
    "1e999",
    "-1e999",
    "NaN",
    "18446744073709551616",
    "9223372036854775807",
    "4294967296",
    "1e-320",
    "\u{0}",
    "\u{feff}",
    "((((((((((((((((((((((((((((((((",
];

impl Mutator<'_> {
    fn next(&mut self) -> Vec<u8> {
        let mut input = match self.random.below(self.corpus.len()) {
            n if n < self.corpus.len() => self.corpus[n].clone(),
            _ => Vec::new(),
        };
        for _ in 0..=self.random.below(6) {
            self.damage(&mut input);
        }
        input.truncate(self.most);
        input
    }

    /// A place in `input`, its end included.
    fn place(&mut self, input: &[u8]) -> usize {
        self.random.below(input.len() + 1)
    }

    /// A piece of `input`.
    fn piece(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let start = self.place(input);
        // Short pieces are the usual ones; a long one is a field or more.
        let most = if self.random.below(4) == 0 { input.len() } else { 32 };
        let length = self.random.below(most.min(input.len() - start) + 1);
        start..start + length
    }

    fn damage(&mut self, input: &mut Vec<u8>) {
        let at = self.place(input);
        match self.random.below(11) {
            0 if at < input.len() => input[at] ^= 1 << self.random.below(8),
            1 if at < input.len() => input[at] = self.random.below(256) as u8,
            2 => _ = input.splice(at..at, [self.random.below(256) as u8]),
            3 => {
                let piece = self.piece(input);
                input.drain(piece);
            }
            4 => {
                let piece = self.piece(input);
                let copy = input[piece].to_vec();
                let times = 1 + self.random.below(3);
                input.splice(at..at, copy.repeat(times));
            }
            5 => {
                let other = self.random.below(self.corpus.len());
                let Some(other) = self.corpus.get(other).cloned() else { return };
                let piece = self.piece(&other);
                let place = self.piece(input);
                input.splice(place, other[piece].iter().copied());
            }
            6 => input.truncate(at),
            7 => {
                let number = LIMITS[self.random.below(LIMITS.len())];
                let bytes = match self.random.below(2) {
                    0 => number.to_le_bytes(),
                    _ => number.to_be_bytes(),
                };
                let width = [1, 2, 4, 8][self.random.below(4)];
                let bytes = if bytes[0] == 0 { &bytes[8 - width..] } else { &bytes[..width] };
                let end = (at + width).min(input.len());
                input.splice(at..end, bytes.iter().copied());
            }
            8 if !self.words.is_empty() => {
                let word = self.words[self.random.below(self.words.len())];
                input.splice(at..at, word.bytes());
            }
            9 => {
                let text = TEXTS[self.random.below(TEXTS.len())];
                // In place of a number, if one stands there.
                let is_digit = |b: &&u8| b.is_ascii_digit();
                let length = input[at..].iter().take_while(is_digit).count();
                input.splice(at..at + length, text.bytes());
            }
            _ => {
                let (one, other) = (self.piece(input), self.piece(input));
                let copy = input[one].to_vec();
                input.splice(other, copy);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_comes_first_and_damage_follows() {
        let corpus = [b"(size: 12)".to_vec(), b"other".to_vec()];
        let seen = std::cell::RefCell::new(Vec::new());
        let fuzzed = fuzz("itself", &corpus, &["word"], |input| {
            seen.borrow_mut().push(input.to_vec());
        });
        let seen = seen.into_inner();
        assert_eq!(seen[..2], corpus);
        assert_eq!(seen.len() as u64, fuzzed.executions);
        let damaged = seen.iter().skip(2).filter(|input| !corpus.contains(input)).count();
        assert!(damaged * 10 > seen.len() * 9, "{damaged} of {}", seen.len());
        let text: Vec<u8> = seen.concat();
        assert!(text.windows(4).any(|window| window == b"word"));
    }

    #[test]
    fn a_panic_is_not_lost() {
        let found = std::panic::catch_unwind(|| {
            fuzz("panics", &[b"x".to_vec()], &[], |input| assert_eq!(input.first(), Some(&b'x')))
        });
        assert!(found.is_err());
        let _ = fs::remove_file(std::env::temp_dir().join("fame-fuzz-panics.panic"));
    }
}
