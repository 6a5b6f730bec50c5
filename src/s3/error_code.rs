//! S3 error codes: the word on the wire and the status that goes with it.
//!
//! Source: S3 API reference, "Error responses". Only codes that the gateway itself answers with, and those of the store that
//! it passes on to clients.

use http::StatusCode;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:literal,)+) => {
        /// An error code of S3.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum S3ErrorCode { $($(#[$doc])* $name,)+ }

        impl S3ErrorCode {
            /// The word in `<Code>`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// The status S3 sends with it.
            pub fn status(self) -> StatusCode {
                let status = match self { $(Self::$name => $status,)+ };
                StatusCode::from_u16(status).expect("every literal of the table is a valid status")
            }

            /// The code of this exact word, if it is one of the table.
            pub fn named(word: &str) -> Option<Self> {
                match word { $(stringify!($name) => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

codes! {
    /// A form whose body cannot be read.
    MalformedPOSTRequest = 400,
    /// A form without a file, or with several.
    IncorrectNumberOfFilesInPostRequest = 400,
    /// More than 20 KB of fields before the file of a form.
    MaxPostPreDataLengthExceeded = 400,
    /// A form without a key.
    UserKeyMustBeSpecified = 400,
    /// A policy of a form that cannot be read.
    InvalidPolicyDocument = 400,
    /// Not permitted.
    AccessDenied = 403,
    /// No page of this origin may do this.
    AccessForbidden = 403,
    /// The `Authorization` header cannot be read.
    AuthorizationHeaderMalformed = 400,
    /// The signature of a presigned URL cannot be read.
    AuthorizationQueryParametersError = 400,
    /// A digest does not fit the body.
    BadDigest = 400,
    /// A bucket of this name belongs to somebody else.
    BucketAlreadyExists = 409,
    /// The bucket is there already.
    BucketAlreadyOwnedByYou = 409,
    /// The bucket still has objects.
    BucketNotEmpty = 409,
    /// A region that does not go with the endpoint.
    IllegalLocationConstraintException = 400,
    /// The bucket is not in a state that allows this.
    InvalidBucketState = 409,
    /// A region that does not exist.
    InvalidLocationConstraint = 400,
    /// A retention period that is none.
    InvalidRetentionPeriod = 400,
    /// An access control list that cannot be read.
    MalformedACLError = 400,
    /// A bucket policy that cannot be read.
    MalformedPolicy = 400,
    /// There is no policy.
    NoSuchBucketPolicy = 404,
    /// There is no such configuration.
    NoSuchConfiguration = 404,
    /// There is no CORS configuration.
    NoSuchCORSConfiguration = 404,
    /// There is no lifecycle configuration.
    NoSuchLifecycleConfiguration = 404,
    /// The object is not locked.
    NoSuchObjectLockConfiguration = 404,
    /// There is no block of public access.
    NoSuchPublicAccessBlockConfiguration = 404,
    /// There are no tags.
    NoSuchTagSet = 404,
    /// There is no website configuration.
    NoSuchWebsiteConfiguration = 404,
    /// Object lock is not enabled.
    ObjectLockConfigurationNotFoundError = 404,
    /// Another change of the bucket is under way.
    OperationAborted = 409,
    /// There are no ownership controls.
    OwnershipControlsNotFoundError = 404,
    /// There is no replication configuration.
    ReplicationConfigurationNotFoundError = 404,
    /// The object is being restored already.
    RestoreAlreadyInProgress = 409,
    /// There is no encryption configuration.
    ServerSideEncryptionConfigurationNotFoundError = 404,
    /// The account has as many buckets as it may have.
    TooManyBuckets = 400,
    /// Of the gateway: an inspection found something in the object.
    ContentRejected = 403,
    /// Of the gateway: the object cannot be inspected as a whole.
    ContentNotScannable = 403,
    /// Of the gateway: the inspection of the object failed.
    InspectionFailed = 403,
    /// Two writes met; trying again may help.
    ConditionalRequestConflict = 409,
    /// The object is larger than allowed.
    EntityTooLarge = 400,
    /// The object is smaller than allowed.
    EntityTooSmall = 400,
    /// The credential has ended.
    ExpiredToken = 401,
    /// The body is shorter than declared.
    IncompleteBody = 400,
    /// A fault of the gateway.
    InternalError = 500,
    /// No key has this access key id.
    InvalidAccessKeyId = 403,
    /// A parameter or header is not acceptable.
    InvalidArgument = 400,
    /// A bucket name that cannot exist.
    InvalidBucketName = 400,
    /// A digest that is not one.
    InvalidDigest = 400,
    /// The object is archived or locked.
    InvalidObjectState = 403,
    /// A part is missing or does not fit.
    InvalidPart = 400,
    /// The parts are not in ascending order.
    InvalidPartOrder = 400,
    /// The range is outside the object.
    InvalidRange = 416,
    /// The request is not acceptable as a whole.
    InvalidRequest = 400,
    /// A tag is not acceptable.
    InvalidTag = 400,
    /// The credential was not accepted.
    InvalidToken = 401,
    /// The target cannot be read.
    InvalidURI = 400,
    /// The key is longer than 1,024 bytes.
    KeyTooLongError = 400,
    /// The XML body cannot be read.
    MalformedXML = 400,
    /// The XML body is longer than any of its kind.
    MaxMessageLengthExceeded = 400,
    /// User metadata is larger than 2 KB.
    MetadataTooLarge = 400,
    /// The method does not go with the target.
    MethodNotAllowed = 405,
    /// The length of the body is not known.
    MissingContentLength = 411,
    /// The bucket does not exist.
    NoSuchBucket = 404,
    /// The key does not exist.
    NoSuchKey = 404,
    /// The multipart upload does not exist.
    NoSuchUpload = 404,
    /// The version does not exist.
    NoSuchVersion = 404,
    /// The operation is not served.
    NotImplemented = 501,
    /// A condition of the request does not hold.
    PreconditionFailed = 412,
    /// The head has too many fields.
    RequestHeaderSectionTooLarge = 431,
    /// The upload was too slow.
    RequestTimeout = 400,
    /// The clock of the client differs too much.
    RequestTimeTooSkewed = 403,
    /// The signature is not that of the request.
    SignatureDoesNotMatch = 403,
    /// The declared SHA-256 does not fit the body.
    XAmzContentSHA256Mismatch = 400,
    /// Try again, later and slower.
    SlowDown = 503,
    /// Try again later.
    ServiceUnavailable = 503,
    /// The store behind the gateway failed.
    BadGateway = 502,
    /// The store behind the gateway did not answer in time.
    GatewayTimeout = 504,
    /// Only `100-continue` can be expected.
    ExpectationFailed = 417,
}

impl S3ErrorCode {
    /// Whether the code says something about a bucket or its settings that its administrator must know, and nothing of the gateway.
    pub fn is_about_settings(self) -> bool {
        matches!(
            self,
            Self::BucketAlreadyExists
                | Self::BucketAlreadyOwnedByYou
                | Self::BucketNotEmpty
                | Self::IllegalLocationConstraintException
                | Self::InvalidBucketName
                | Self::InvalidBucketState
                | Self::InvalidLocationConstraint
                | Self::InvalidRetentionPeriod
                | Self::InvalidTag
                | Self::MalformedACLError
                | Self::MalformedPolicy
                | Self::MalformedXML
                | Self::NoSuchBucketPolicy
                | Self::NoSuchConfiguration
                | Self::NoSuchCORSConfiguration
                | Self::NoSuchLifecycleConfiguration
                | Self::NoSuchObjectLockConfiguration
                | Self::NoSuchPublicAccessBlockConfiguration
                | Self::NoSuchTagSet
                | Self::NoSuchWebsiteConfiguration
                | Self::ObjectLockConfigurationNotFoundError
                | Self::OperationAborted
                | Self::OwnershipControlsNotFoundError
                | Self::ReplicationConfigurationNotFoundError
                | Self::RestoreAlreadyInProgress
                | Self::ServerSideEncryptionConfigurationNotFoundError
                | Self::TooManyBuckets
        )
    }
}
