package mtls

import (
	"testing"
	"time"
)

func TestHostIdentity(t *testing.T) {
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := KeyPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	a, made, err := HostIdentity(text, "nidus")
	if err != nil || made || a.Name != "nidus" {
		t.Fatalf("%+v, made %v, %v", a, made, err)
	}
	if b, _, err := HostIdentity(text, "nidus"); err != nil || b.Fingerprint != a.Fingerprint {
		t.Errorf("the same key is another one at the next start: %v", err)
	}
	for _, now := range []time.Time{time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if err := inTime(a.cert.Leaf, now, "the host's", ""); err != nil {
			t.Error(err)
		}
	}
	c, made, err := HostIdentity(nil, "nidus")
	if err != nil || !made || c.Fingerprint == a.Fingerprint {
		t.Errorf("without a key: made %v, %v", made, err)
	}
	for _, bad := range []string{"", "x", string(text[:len(text)/2]), string(a.CertificatePEM())} {
		if i, made, err := HostIdentity([]byte(bad), "nidus"); err == nil || !made || i == nil {
			t.Errorf("%.20q: made %v, %v", bad, made, err)
		}
	}
}
