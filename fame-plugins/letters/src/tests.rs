use super::*;

const INK: Rgb<u8> = Rgb([0; 3]);

/// `text` on white.
fn drawn(text: &str, size: u32) -> RgbImage {
    let mut on = RgbImage::from_pixel(width(text, size) + 4, line_height(size) + 4, Rgb([255; 3]));
    draw(&mut on, text, (2, 2), size, INK);
    on
}

fn ink(picture: &RgbImage) -> u64 {
    picture.pixels().map(|p| u64::from(255 - p.0[0])).sum()
}

/// A label of each script that a label is likely to have.
const LABELS: [(&str, &str); 22] = [
    ("Latin", "Grosse Straße"),
    ("Vietnamese", "Chó chăn cừu Việt"),
    ("Greek", "Λύκος, ἀλώπηξ"),
    ("Cyrillic", "Немецкая овчарка"),
    ("Armenian", "Շուն"),
    ("Georgian", "ძაღლი"),
    ("Hebrew", "כלב רועה"),
    ("Arabic", "كلب الراعي"),
    ("Persian", "گربه‌ی ایرانی"),
    ("Devanagari", "हिन्दी कुत्ता"),
    ("Bengali", "কুকুর ছানা"),
    ("Tamil", "நாய்க்குட்டி"),
    ("Telugu", "కుక్క పిల్ల"),
    ("Malayalam", "നായ്ക്കുട്ടി"),
    ("Thai", "สุนัขต้อนแกะ"),
    ("Khmer", "ឆ្កែ"),
    ("Amharic", "ውሻ"),
    ("Chinese", "德国牧羊犬"),
    ("Japanese", "柴犬のこいぬ"),
    ("Korean", "진돗개"),
    ("emoji", "🐕 🐱 ☕"),
    ("beyond", "𠮷"),
];

#[test]
fn every_script_has_glyphs_of_its_own() {
    let question = drawn("????", 16);
    for (script, label) in LABELS {
        let picture = drawn(label, 16);
        assert!(ink(&picture) > 2000, "{script} {label}: {}", ink(&picture));
        assert!(picture != question);
        let fewer: String = label.chars().skip(1).collect();
        assert!(drawn(&fewer, 16) != picture, "{script}: the first letter leaves no trace");
        if let Ok(folder) = std::env::var("FAME_LETTERS_OUT") {
            for size in [12, 16, 32] {
                drawn(label, size).save(format!("{folder}/{script}_{size}.png")).unwrap();
            }
        }
    }
}

#[test]
fn a_letter_is_where_it_should_be_and_nothing_falls_off_the_edge() {
    let mut on = RgbImage::from_pixel(20, 24, Rgb([255; 3]));
    draw(&mut on, "l", (5, 2), 16, INK);
    let lit: Vec<u32> = (0..20).filter(|x| on.get_pixel(*x, 10).0[0] < 128).collect();
    assert!(lit.len() <= 2 && lit.iter().all(|x| (6..=8).contains(x)), "{lit:?}");
    let dark = |y: u32| (0..20).any(|x| on.get_pixel(x, y).0[0] < 128);
    // The letter stands on the line 15 pixels below the top and is 12 high.
    let rows: Vec<u32> = (0..24).filter(|y| dark(*y)).collect();
    assert_eq!((rows[0], rows[rows.len() - 1]), (5, 16));
    draw(&mut on, "WWWW漢漢", (15, 20), 32, INK);
    draw(&mut on, "W", (u32::MAX, u32::MAX), 16, INK);
}

#[test]
fn text_from_right_to_left_is_turned_and_joined() {
    // Aleph, bet: bet, the second letter, stands left.
    let [aleph, both] = ["א", "אב"].map(|text| drawn(text, 32));
    let right = image::imageops::crop_imm(
        &both,
        both.width() - aleph.width(),
        0,
        aleph.width(),
        aleph.height(),
    );
    // The pen may stand on a fraction of a pixel: half of the ink's sum is far beyond that.
    let apart: u64 = right
        .to_image()
        .pixels()
        .zip(aleph.pixels())
        .map(|(a, b)| u64::from(a.0[0].abs_diff(b.0[0])))
        .sum();
    assert!(apart < ink(&aleph) / 2, "{apart} of {}", ink(&aleph));
    // Arabic letters alone are wider than joined.
    assert!(width("كلب", 32) < ["ك", "ل", "ب"].map(|letter| width(letter, 32)).iter().sum());
    // Numbers within stay in order, and a Latin frame around it too.
    assert!(drawn("cam: כלב 73 %", 16) != drawn("cam: בלכ 73 %", 16));
}

#[test]
fn no_name_turns_what_stands_behind_it() {
    for turned in ["a\u{202E}", "a\u{2067}", "\u{202B}a", "a\u{2066}\u{202E}"] {
        assert_eq!(drawn(&format!("{turned} 31 %"), 16), drawn("a 31 %", 16), "{turned:?}");
    }
    // Behind a name that runs leftwards a mark of the other direction keeps a number at its place.
    let begins = |text: &str| {
        let (name, all) = (drawn("cam: כלב", 16), drawn(text, 16));
        let left = |of| image::imageops::crop_imm(of, 0, 0, name.width() - 4, 20).to_image();
        left(&name) == left(&all)
    };
    assert!(begins("cam: כלב\u{200E} 7 %") && !begins("cam: כלב 7 %"));
}

#[test]
fn marks_take_no_room_and_vowels_are_reordered() {
    assert_eq!(width("e\u{301}", 16), width("é", 16));
    assert_eq!(width("漢\u{302A}", 16), width("漢", 16), "in bitmaps too");
    // The vowel sign that is written before its consonant is no circle with dots: narrower.
    assert!(width("कि", 32) < width("क", 32) + width("ि", 32));
    assert_eq!(width("a\u{200B}\u{FE0F}", 16), width("a", 16), "what has no look");
}

#[test]
fn what_no_font_has_is_written_as_its_number() {
    assert_eq!(drawn("a𠮷", 16), drawn("a[U+20BB7]", 16));
    assert_eq!(drawn("a\nb\u{7}", 16), drawn("a b ", 16));
    assert_eq!(drawn("a\u{2028}b\u{2029}", 16), drawn("a b ", 16));
    assert_eq!(width("", 16), 0);
    draw(&mut RgbImage::new(1, 1), "", (0, 0), 16, INK);
}

#[test]
fn lines_break_between_words() {
    let most = width("similar_", 16);
    assert_eq!(wrap("probe_similar_k49", most, 16), ["probe_", "similar_", "k49"]);
    let lines = wrap("dissimilar", width("diss", 16), 16);
    assert!(lines.len() >= 3 && lines.concat() == "dissimilar", "{lines:?}");
    assert_eq!(wrap("ab", 0, 16), ["a", "b"]);
    assert_eq!(wrap("e\u{301}e\u{301}", 0, 16), ["e\u{301}", "e\u{301}"]);
    assert_eq!(wrap("德国牧羊犬。", 33, 16), ["德国", "牧羊", "犬。"]);
    assert!(wrap("", 5, 16).is_empty());
    for (_, label) in LABELS {
        let lines = wrap(label, 40, 16);
        assert_eq!(lines.concat(), label);
        assert!(lines.iter().all(|l| width(l.trim_end(), 16) <= 40 || l.chars().count() < 5));
    }
}

#[test]
fn a_long_label_is_cut_and_keeps_the_number_behind_it() {
    let most = width("German… 0.87", 16);
    assert_eq!(shortened("German shepherd", " 0.87", most, 16), "German… 0.87");
    assert_eq!(shortened("Ger", " 0.87", most, 16), "Ger 0.87");
    assert_eq!(shortened("German", "", width("German", 16), 16), "German");
    for (_, label) in LABELS {
        for most in [30, 60, 90] {
            let cut = shortened(label, " 0.87", most, 16);
            assert!(width(&cut, 16) <= most, "{label}: {cut}");
            assert!(cut.ends_with(" 0.87") || most == 30, "{label}: {cut}");
        }
    }
    // No letter loses its mark, and a text without an end takes no time.
    let accents = "e\u{301}".repeat(9);
    let cut = shortened(&accents, "", width("eee…", 16), 16);
    assert_eq!(cut, format!("{}…", "e\u{301}".repeat(3)));
    assert!(shortened(&"犬".repeat(3_000_000), "", 100, 16).ends_with('…'));
    assert_eq!(shortened("dog", " 0.87", 3, 16), "");
}

#[test]
fn the_bytes_are_the_same_everywhere() {
    // A checksum of the pictures of all labels: no font of the system, no float that a compiler or
    // a processor rounds in its own way may have a say.
    let mut sum = 0u64;
    for (_, label) in LABELS {
        for byte in drawn(label, 16).as_raw() {
            sum = sum.wrapping_mul(31).wrapping_add(u64::from(*byte));
        }
    }
    assert_eq!(sum, EXPECTED, "{sum:#x}");
}

/// What the pictures of all labels add up to.
const EXPECTED: u64 = 0xeb9d_f48a_3b41_91d2;
