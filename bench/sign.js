// Signature Version 4 for nginx with njs, after the method of nginx-s3-gateway: a variable that is computed for each request. The signing
// key is derived each time, because in njs requests share no state. What it costs is measured; nobody should use it for more.

const crypto = require('crypto');

const ACCESS_KEY_ID = 'BENCH-ACCESS-KEY';
const SECRET_ACCESS_KEY = 'bench-secret-access-key';
const NAMES = 'host;x-amz-content-sha256;x-amz-date';
const PAYLOAD = 'UNSIGNED-PAYLOAD';

function date() {
    return new Date().toISOString().replace(/[-:]|\.\d+/g, '');
}

function hmac(key, text) {
    return crypto.createHmac('sha256', key).update(text);
}

function signingKey(day) {
    const steps = [day, 'us-east-1', 's3', 'aws4_request'];
    return steps.reduce((key, text) => hmac(key, text).digest(), 'AWS4' + SECRET_ACCESS_KEY);
}

function authorization(r) {
    const now = r.variables.date;
    const day = now.slice(0, 8);
    const scope = day + '/us-east-1/s3/aws4_request';
    const canonical = [r.method, r.uri, '', 'host:plain', 'x-amz-content-sha256:' + PAYLOAD, 'x-amz-date:' + now, '', NAMES, PAYLOAD].join('\n');
    const hash = crypto.createHash('sha256').update(canonical).digest('hex');
    const signature = hmac(signingKey(day), ['AWS4-HMAC-SHA256', now, scope, hash].join('\n')).digest('hex');
    return 'AWS4-HMAC-SHA256 Credential=' + ACCESS_KEY_ID + '/' + scope + ', SignedHeaders=' + NAMES + ', Signature=' + signature;
}

export default { authorization, date };
