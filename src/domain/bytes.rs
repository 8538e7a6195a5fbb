//! Text that need not be UTF-8: an argument, a path, the value of a variable.
//!
//! In JSON it is a string where it is UTF-8, else `{"base64":"…"}`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bitcode::{Decode, Encode};
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that are text nearly always.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// The bytes as the system takes them.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    /// The bytes as text for people, with U+FFFD for what is not UTF-8.
    pub fn lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        Bytes(text.as_bytes().to_vec())
    }
}

impl From<String> for Bytes {
    fn from(text: String) -> Self {
        Bytes(text.into_bytes())
    }
}

impl From<OsString> for Bytes {
    fn from(text: OsString) -> Self {
        Bytes(text.into_vec())
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.lossy())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &STANDARD.encode(&self.0))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrBase64;

        impl<'de> Visitor<'de> for TextOrBase64 {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                Ok(text.into())
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Bytes, E> {
                Ok(text.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Bytes, A::Error> {
                let Some(key) = map.next_key::<String>()? else {
                    return Err(de::Error::missing_field("base64"));
                };
                if key != "base64" {
                    return Err(de::Error::unknown_field(&key, &["base64"]));
                }
                let encoded: String = map.next_value()?;
                if let Some(more) = map.next_key::<String>()? {
                    return Err(de::Error::unknown_field(&more, &["base64"]));
                }
                STANDARD.decode(encoded).map(Bytes).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_any(TextOrBase64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_back() {
        for (bytes, json) in
            [(&b"a b"[..], r#""a b""#), (b"", r#""""#), (b"\xff\xfe", r#"{"base64":"//4="}"#)]
        {
            let value = Bytes(bytes.to_vec());
            assert_eq!(serde_json::to_string(&value).unwrap(), json);
            assert_eq!(serde_json::from_str::<Bytes>(json).unwrap(), value);
        }
        for bad in [r#"{"base64":"//4=","x":1}"#, r#"{"x":"//4="}"#, "{}", r#"{"base64":"!"}"#] {
            assert!(serde_json::from_str::<Bytes>(bad).is_err(), "{bad}");
        }
        let error = serde_json::from_str::<Bytes>("7").unwrap_err().to_string();
        assert!(error.contains("invalid type: integer `7`, expected a string"), "{error}");
        // What has an escape, or is no borrowed text, comes another way.
        assert_eq!(serde_json::from_str::<Bytes>(r#""a\nb""#).unwrap(), Bytes::from("a\nb"));
        assert_eq!(serde_json::from_value::<Bytes>("a".into()).unwrap(), Bytes::from("a"));
    }

    #[test]
    fn of_text_as_people_see_it() {
        assert_eq!(Bytes::from("a".to_owned()), Bytes::from("a"));
        assert_eq!(Bytes::from(OsString::from("b")).as_os_str(), "b");
        assert_eq!(format!("{:?}", Bytes(b"a\xff".to_vec())), "\"a\u{fffd}\"");
    }
}
