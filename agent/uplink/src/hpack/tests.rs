use super::*;
use alloc::string::{String, ToString};
use alloc::vec;
use proptest::prelude::*;

type Fields = Vec<(String, String)>;
/// A block in hexadecimal, its fields, and the dynamic table's size behind it.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], usize);

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Error> {
    let mut fields = Vec::new();
    decoder.decode(block, 16_384, &mut |name, value| {
        fields.push((
            String::from_utf8_lossy(name).to_string(),
            String::from_utf8_lossy(value).to_string(),
        ));
    })?;
    Ok(fields)
}

/// Decodes blocks in order and compares fields and the dynamic table's size behind each.
fn check(max_table: usize, blocks: &[Row<'_>]) {
    let mut decoder = Decoder::new(max_table);
    for (block, expected, size) in blocks {
        let fields = decode(&mut decoder, &unhex(block)).unwrap();
        let expected: Fields = expected
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect();
        assert_eq!(fields, expected);
        assert_eq!(decoder.dynamic.size(), *size);
    }
}

#[test]
fn integers_of_appendix_c1() {
    for (bytes, bits, value) in [("0a", 5, 10), ("1f9a0a", 5, 1337), ("2a", 8, 42)] {
        let bytes = unhex(bytes);
        assert_eq!(Input(&bytes).integer(bits).unwrap(), value);
        let mut out = Vec::new();
        encode_integer(&mut out, 0, bits, value);
        assert_eq!(out, bytes);
    }
}

#[test]
fn literals_of_appendix_c2() {
    check(
        4096,
        &[(
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            &[("custom-key", "custom-header")],
            55,
        )],
    );
    check(
        4096,
        &[(
            "040c 2f73 616d 706c 652f 7061 7468",
            &[(":path", "/sample/path")],
            0,
        )],
    );
    check(
        4096,
        &[(
            "1008 7061 7373 776f 7264 0673 6563 7265 74",
            &[("password", "secret")],
            0,
        )],
    );
    check(4096, &[("82", &[(":method", "GET")], 0)]);
}

const FIRST: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
];
const SECOND: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
    ("cache-control", "no-cache"),
];
const THIRD: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
];

#[test]
fn requests_of_appendix_c3_without_huffman() {
    check(
        4096,
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", FIRST, 57),
            ("8286 84be 5808 6e6f 2d63 6163 6865", SECOND, 110),
            (
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
                THIRD,
                164,
            ),
        ],
    );
}

#[test]
fn requests_of_appendix_c4_with_huffman() {
    check(
        4096,
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", FIRST, 57),
            ("8286 84be 5886 a8eb 1064 9cbf", SECOND, 110),
            (
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
                THIRD,
                164,
            ),
        ],
    );
}

const RESPONSE_1: &[(&str, &str)] = &[
    (":status", "302"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("location", "https://www.example.com"),
];
const RESPONSE_2: &[(&str, &str)] = &[
    (":status", "307"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("location", "https://www.example.com"),
];
const RESPONSE_3: &[(&str, &str)] = &[
    (":status", "200"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
    ("location", "https://www.example.com"),
    ("content-encoding", "gzip"),
    (
        "set-cookie",
        "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    ),
];

#[test]
fn responses_of_appendix_c5_with_evictions() {
    check(
        256,
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 \
                 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                RESPONSE_1,
                222,
            ),
            ("4803 3330 37c1 c0bf", RESPONSE_2, 222),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a \
                 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d \
                 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
                RESPONSE_3,
                215,
            ),
        ],
    );
}

#[test]
fn responses_of_appendix_c6_with_huffman() {
    check(
        256,
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d \
                 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                RESPONSE_1,
                222,
            ),
            ("4883 640e ffc1 c0bf", RESPONSE_2, 222),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d \
                 d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 \
                 3d50 07",
                RESPONSE_3,
                215,
            ),
        ],
    );
}

#[test]
fn broken_blocks_are_refused() {
    for (block, why) in [
        ("80", "index 0"),
        ("be", "an index beyond the table"),
        ("ff ff ff ff ff 7f", "an integer that is too long"),
        ("ff", "the block ends too soon"),
        ("40 05 61", "the block ends within a string"),
        ("3f e2 1f", "a table size above the announced limit"),
        ("82 20", "a table size update in a wrong place"),
        ("20 20 20", "a table size update in a wrong place"),
        ("00 81 ff 00", "wrong padding of a Huffman string"),
        ("00 81 fe 00", "wrong padding of a Huffman string"),
        ("00 82 1f ff 00", "wrong padding of a Huffman string"),
        ("00 84 ff ff ff ff 00", "EOS in a Huffman string"),
    ] {
        assert_eq!(
            decode(&mut Decoder::new(4096), &unhex(block)),
            Err(Error(why)),
            "{block}"
        );
    }
}

#[test]
fn an_oversized_list_keeps_the_table_in_step() {
    let mut decoder = Decoder::new(4096);
    let mut seen = 0;
    let block = unhex("82 82 400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572");
    assert_eq!(
        decoder.decode(&block, 50, &mut |_, _| seen += 1),
        Ok(ListSize::Exceeded)
    );
    assert_eq!(seen, 1);
    assert_eq!(
        decode(&mut decoder, &[0xbe]).unwrap(),
        vec![("custom-key".into(), "custom-header".into())]
    );
}

#[test]
fn an_entry_larger_than_the_table_empties_it() {
    let mut decoder = Decoder::new(64);
    decode(&mut decoder, &unhex("4001 6101 62")).unwrap();
    assert_eq!(decoder.dynamic.size(), 34);
    let mut big = vec![0x40, 1, b'a', 40];
    big.extend([b'x'; 40]);
    decode(&mut decoder, &big).unwrap();
    assert_eq!(decoder.dynamic.size(), 0);
}

#[test]
fn encoded_responses_decode() {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(4096);
    for (status, update) in [(200, false), (404, true), (431, false), (101, false)] {
        if update {
            encoder.handle_table_size();
        }
        let mut block = Vec::new();
        let long = "x".repeat(300);
        encoder.encode(
            status,
            &[("content-type", "image/jpeg"), ("x-lenscap", &long)],
            &mut block,
        );
        assert_eq!(block.first() == Some(&0x20), update);
        let fields = decode(&mut decoder, &block).unwrap();
        let expected = [
            (":status".to_string(), status.to_string()),
            ("content-type".into(), "image/jpeg".into()),
            ("x-lenscap".into(), long),
        ];
        assert_eq!(fields, expected);
    }
}

proptest! {
    #[test]
    fn any_blocks_decode_or_fail(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..5)) {
        let mut decoder = Decoder::new(4096);
        for block in &blocks {
            let mut size = 0;
            let result = decoder.decode(block, 500, &mut |name, value| size += name.len() + value.len() + ENTRY_OVERHEAD);
            prop_assert!(size <= 500);
            prop_assert!(decoder.dynamic.size() <= 4096);
            if result.is_err() {
                break;
            }
        }
    }

    #[test]
    fn every_byte_string_survives_the_encoder(name in "[a-z-]{1,40}", value in "[ -~]{0,400}") {
        let mut block = Vec::new();
        Encoder::new().encode(200, &[(&name, &value)], &mut block);
        let fields = decode(&mut Decoder::new(4096), &block).unwrap();
        prop_assert_eq!(&fields[1], &(name, value));
    }
}
