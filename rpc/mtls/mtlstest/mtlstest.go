// Package mtlstest makes keys for tests.
package mtlstest

import (
	"testing"
	"time"

	"nidus/rpc/mtls"
)

// Identity makes one that holds now.
func Identity(t testing.TB, name string) *mtls.Identity {
	t.Helper()
	return Between(t, name, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
}

// Between makes one that holds from a time until another.
func Between(t testing.TB, name string, from, until time.Time) *mtls.Identity {
	t.Helper()
	key, err := mtls.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	i, err := mtls.Certify(key, name, from, until)
	if err != nil {
		t.Fatal(err)
	}
	return i
}
