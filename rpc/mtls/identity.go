// Package mtls is the control plane's transport over a network: TCP with TLS 1.3, in
// which both sides prove that they have a key.
//
// Keys are Ed25519's, and nobody signs them but their owners: a host knows its clients
// by the fingerprints of their public keys (package authorized), a client its hosts by
// those of theirs (Store). A certificate is only what TLS wants a key in, and says
// until when its owner means to use it.
package mtls

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"

	"nidus/rpc/control"
)

// Identity is what one side proves to be: a key, in a certificate.
type Identity struct {
	Fingerprint control.Fingerprint
	// Name is what the owner calls the key. Nothing depends on it.
	Name string
	// From and Until are when the certificate holds.
	From, Until time.Time

	cert tls.Certificate
}

// NewKey makes a key, of crypto/rand's randomness.
func NewKey() (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
}

// Certify makes a certificate for a key, signed with the key itself.
func Certify(key ed25519.PrivateKey, name string, from, until time.Time) (*Identity, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	// With the same name and key, its own issuer.
	t := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: pkix.Name{CommonName: name},
		NotBefore: from, NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return identity(key, der)
}

func identity(key ed25519.PrivateKey, der []byte) (*Identity, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, control.Errorf(control.ErrBadArgument, "it is no certificate: %v", err)
	}
	if !key.Public().(ed25519.PublicKey).Equal(c.PublicKey) {
		return nil, control.Errorf(control.ErrBadArgument, "certificate and key don't belong together")
	}
	return &Identity{
		Fingerprint: fingerprint(c), Name: c.Subject.CommonName, From: c.NotBefore, Until: c.NotAfter,
		cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: c},
	}, nil
}

// fingerprint is control.Fingerprint's definition.
func fingerprint(c *x509.Certificate) control.Fingerprint {
	return sha256.Sum256(c.RawSubjectPublicKeyInfo)
}

// PEM blocks (RFC 7468): a key is PKCS #8's (RFC 8410).
const (
	keyBlock  = "PRIVATE KEY"
	certBlock = "CERTIFICATE"
)

// CertificatePEM is the certificate as a file, which is no secret.
func (i *Identity) CertificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: i.cert.Certificate[0]})
}

// KeyPEM is a key as a file.
func KeyPEM(key ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), nil
}

// decodePEM returns what is in the first block of a text, which has to be of that kind.
func decodePEM(text []byte, kind string) ([]byte, error) {
	b, _ := pem.Decode(text)
	if b == nil || b.Type != kind {
		return nil, control.Errorf(control.ErrBadArgument, "it has no %s in PEM form", kind)
	}
	return b.Bytes, nil
}

// ParseKey is KeyPEM's inverse. ErrBadArgument.
func ParseKey(text []byte) (ed25519.PrivateKey, error) {
	der, err := decodePEM(text, keyBlock)
	if err != nil {
		return nil, err
	}
	any, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, control.Errorf(control.ErrBadArgument, "it is no private key: %v", err)
	}
	key, ok := any.(ed25519.PrivateKey)
	if !ok {
		return nil, control.Errorf(control.ErrBadArgument, "it is no Ed25519 key, which Nidus takes only")
	}
	return key, nil
}

// ParseCertificate reads the key's fingerprint and the owner's name for it from a
// certificate in PEM form. ErrBadArgument.
func ParseCertificate(text []byte) (control.Fingerprint, string, error) {
	c, err := certificate(text)
	if err != nil {
		return control.Fingerprint{}, "", err
	}
	return fingerprint(c), c.Subject.CommonName, nil
}

func certificate(text []byte) (*x509.Certificate, error) {
	der, err := decodePEM(text, certBlock)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, control.Errorf(control.ErrBadArgument, "it is no certificate: %v", err)
	}
	if _, ok := c.PublicKey.(ed25519.PublicKey); !ok {
		return nil, control.Errorf(control.ErrBadArgument, "its key is no Ed25519 key, which Nidus takes only")
	}
	return c, nil
}

// ParseIdentity reads a key and its certificate, as KeyPEM and CertificatePEM made
// them. ErrBadArgument.
func ParseIdentity(key, cert []byte) (*Identity, error) {
	k, err := ParseKey(key)
	if err != nil {
		return nil, err
	}
	c, err := certificate(cert)
	if err != nil {
		return nil, err
	}
	return identity(k, c.Raw)
}
