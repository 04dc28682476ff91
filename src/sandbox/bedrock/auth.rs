//! Who may call: Signature Version 4 for the service that is called, or a Bedrock API key as a bearer token.
//!
//! The signature is computed, not believed (IAM user guide: Create a signed AWS API request). Unlike S3, the path is
//! encoded once more before it is signed.

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use super::refusal::{Kind, Refusal};

/// The name that requests to Bedrock are signed for, runtime and control plane alike.
pub const BEDROCK: &str = "bedrock";
pub const SERVICE_QUOTAS: &str = "servicequotas";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far a client's clock may be off.
const SKEW_SECONDS: i64 = 5 * 60;
/// What SigV4 leaves unencoded.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// The pair of keys that is let in.
pub struct Keys {
    pub access_key: String,
    pub secret_key: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// The service that an Authorization header is signed for.
pub fn signed_service(authorization: &str) -> Option<&str> {
    Signature::parse(authorization).map(|signature| signature.service)
}

/// The region that an Authorization header is signed for.
pub fn signed_region(authorization: &str) -> Option<&str> {
    Signature::parse(authorization).map(|signature| signature.region)
}

struct Signature<'a> {
    access_key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Signature<'a> {
    fn parse(authorization: &'a str) -> Option<Signature<'a>> {
        let fields = authorization.trim().strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
        let field = |name: &str| {
            fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
        };
        // An access key may hold slashes in theory; the scope after it never does.
        let mut scope = field("Credential")?.rsplitn(5, '/');
        let (terminator, service, region, date) =
            (scope.next()?, scope.next()?, scope.next()?, scope.next()?);
        if terminator != "aws4_request" {
            return None;
        }
        let access_key = scope.next()?;
        let (signed_headers, signature) = (field("SignedHeaders")?, field("Signature")?);
        Some(Signature { access_key, date, region, service, signed_headers, signature })
    }
}

impl Keys {
    /// Lets a request to a service in or says why not.
    pub fn check(&self, head: &Parts, body: &[u8], service: &str) -> Result<(), Refusal> {
        let Some(authorization) = head.headers.get(http::header::AUTHORIZATION) else {
            return Err(Refusal::new(Kind::MissingAuthenticationToken, "Missing Authentication Token"));
        };
        let authorization = String::from_utf8_lossy(authorization.as_bytes());
        let token = authorization.trim().strip_prefix("Bearer ");
        if let Some(token) = token.filter(|_| service == BEDROCK) {
            if same(token.trim().as_bytes(), self.secret_key.as_bytes()) {
                return Ok(());
            }
            let message = "Authentication failed: Please make sure your API Key is valid.";
            return Err(Refusal::new(Kind::AccessDenied, message));
        }
        let signature = Signature::parse(&authorization).ok_or_else(|| {
            let message =
                "Authorization header requires 'Credential', 'Signature' and 'SignedHeaders' parameters.";
            Refusal::new(Kind::IncompleteSignature, message)
        })?;
        if signature.service != service {
            let message = format!("Credential should be scoped to correct service: '{service}'. ");
            return Err(Refusal::new(Kind::InvalidSignature, message));
        }
        self.check_signature(head, body, &signature)
    }

    fn check_signature(&self, head: &Parts, body: &[u8], claim: &Signature) -> Result<(), Refusal> {
        if claim.access_key != self.access_key {
            let message = "The security token included in the request is invalid.";
            return Err(Refusal::new(Kind::UnrecognizedClient, message));
        }
        let invalid = |message: String| Refusal::new(Kind::InvalidSignature, message);
        let date = header(head, "x-amz-date").unwrap_or_default();
        let Some(signed_at) = unix_seconds(&date).filter(|_| date.starts_with(claim.date)) else {
            return Err(invalid(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP"
                    .to_owned(),
            ));
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        if (now - signed_at).abs() > SKEW_SECONDS {
            return Err(invalid(format!(
                "Signature expired: {date} is more than 5 min. from the time of the service."
            )));
        }
        let expected = self.sign(&canonical_request(head, body, claim), &date, claim);
        if !same(expected.as_bytes(), claim.signature.as_bytes()) {
            let message = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.";
            return Err(invalid(message.to_owned()));
        }
        Ok(())
    }

    fn sign(&self, canonical_request: &str, date: &str, claim: &Signature) -> String {
        let scope = format!("{}/{}/{}/aws4_request", claim.date, claim.region, claim.service);
        let hash = hex::encode(Sha256::digest(canonical_request.as_bytes()));
        let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{hash}");
        let secret = format!("AWS4{}", self.secret_key);
        let key = [claim.date, claim.region, claim.service, "aws4_request"]
            .iter()
            .fold(secret.into_bytes(), |key, part| mac(&key, part));
        hex::encode(mac(&key, &to_sign))
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn header(head: &Parts, name: &str) -> Option<String> {
    let values: Vec<_> =
        head.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(","))
}

fn canonical_request(head: &Parts, body: &[u8], claim: &Signature) -> String {
    let mut headers = String::new();
    for name in claim.signed_headers.split(';') {
        let value = match (header(head, name), name) {
            (Some(value), _) => value,
            // HTTP/2 has no Host header.
            (None, "host") => head.uri.authority().map(ToString::to_string).unwrap_or_default(),
            (None, _) => String::new(),
        };
        headers.push_str(&format!("{name}:{}\n", value.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    let payload = match header(head, "x-amz-content-sha256") {
        Some(unsigned) if unsigned == "UNSIGNED-PAYLOAD" => unsigned,
        _ => hex::encode(Sha256::digest(body)),
    };
    format!(
        "{}\n{}\n{}\n{headers}\n{}\n{payload}",
        head.method,
        utf8_percent_encode(head.uri.path(), PATH),
        canonical_query(head.uri.query().unwrap_or_default()),
        claim.signed_headers,
    )
}

fn canonical_query(query: &str) -> String {
    let encode = |text: &str| {
        let text = percent_decode_str(text).decode_utf8_lossy().into_owned();
        utf8_percent_encode(&text, UNRESERVED).to_string()
    };
    let mut pairs: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.sort();
    pairs.join("&")
}

/// Seconds since 1970 of `20261120T132201Z`.
fn unix_seconds(date: &str) -> Option<i64> {
    if date.len() != 16 || !date.is_ascii() || date.as_bytes()[8] != b'T' || !date.ends_with('Z') {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = &date[from..to];
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days of the civil calendar, counting years from March so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 719_469;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// Compares without telling by its time where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_requests_are_read() {
        assert_eq!(unix_seconds("19700101T000000Z"), Some(0));
        assert_eq!(unix_seconds("20000229T120000Z"), Some(951_825_600));
        assert_eq!(unix_seconds("20261120T132201Z"), Some(1_795_180_921));
        for bad in
            ["", "20261120", "20261320T132201Z", "2026112OT132201Z", "20261120 132201Z", "+0261120T132201Z"]
        {
            assert_eq!(unix_seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_scope_names_its_service() {
        let header = "AWS4-HMAC-SHA256 Credential=AK/20261120/eu-west-1/bedrock/aws4_request, SignedHeaders=host;x-amz-date, Signature=ab";
        assert_eq!(signed_service(header), Some("bedrock"));
        assert_eq!(signed_service("AWS4-HMAC-SHA256 Credential=AK/bedrock"), None);
        assert_eq!(signed_service("Basic dXNlcg=="), None);
    }
}
