package mtls

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"
	"testing/iotest"

	"nidus/rpc/control"
)

func TestGreeting(t *testing.T) {
	long := errors.New(strings.Repeat("x", 5000) + "\n" + "y")
	for name, c := range map[string]struct {
		line string
		kind control.Code // 0: welcome
		text string
	}{
		"welcome":      {string(greeting(nil)), 0, ""},
		"short":        {"nidus 0\n", 0, ""},
		"denied":       {string(greeting(control.Errorf(control.ErrDenied, "no:\nnever"))), control.ErrDenied, "no: never"},
		"internal":     {string(greeting(long)), control.ErrInternal, "xxx"},
		"new kind":     {"nidus 999 what?\n", 999, "what?"},
		"no number":    {"nidus x y\n", control.ErrVersion, "no greeting"},
		"large number": {"nidus 65536 y\n", control.ErrVersion, "no greeting"},
		"negative":     {"nidus -1 y\n", control.ErrVersion, "no greeting"},
		"other":        {"HTTP/1.1 400 Bad Request\r\n", control.ErrVersion, "no greeting"},
		"empty":        {"\n", control.ErrVersion, "no greeting"},
		"endless":      {strings.Repeat("n", 1<<20), control.ErrVersion, "no greeting"},
	} {
		t.Run(name, func(t *testing.T) {
			r := bytes.NewReader(append([]byte(c.line), "behind"...))
			err := readGreeting(r)
			if c.kind == 0 != (err == nil) || err != nil && (control.CodeOf(err) != c.kind || !strings.Contains(err.Error(), c.text)) {
				t.Errorf("%v, of kind %v", err, control.CodeOf(err))
			}
			if left, _ := io.ReadAll(r); c.line[len(c.line)-1] == '\n' && string(left) != "behind" {
				t.Errorf("%q is left", left)
			}
		})
	}
	if err := readGreeting(strings.NewReader("nidus 0")); err != io.EOF {
		t.Error(err)
	}
	if err := readGreeting(iotest.DataErrReader(strings.NewReader("nidus 0\n"))); err != nil {
		t.Error(err)
	}
}

func FuzzGreeting(f *testing.F) {
	f.Add([]byte("nidus 0 welcome\n"))
	f.Add([]byte("nidus 12 no\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := readGreeting(bytes.NewReader(b)); err == nil && !bytes.HasPrefix(b, []byte("nidus 0")) {
			t.Errorf("%q is welcome", b)
		}
	})
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{"host", "[::1]:5", "::1", "h:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Address(s)
		if err != nil {
			return
		}
		if again, err := Address(a); again != a || err != nil {
			t.Errorf("%q is %q, and that %q, %v", s, a, again, err)
		}
	})
}

// What is read of a file of hosts is what is written of it.
func FuzzHosts(f *testing.F) {
	f.Add([]byte("# hosts\nhost:1 sha256:" + strings.Repeat("ab", 32) + "\n\n[::1]:5417  sha256:" + strings.Repeat("01", 32)))
	f.Add([]byte("host sha256:ff\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		hosts, err := parseHosts("f", b)
		if err != nil {
			if control.CodeOf(err) != control.ErrBadConfig || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v", err)
			}
			return
		}
		again, err := parseHosts("f", formatHosts(hosts))
		if err != nil || !maps.Equal(again, hosts) {
			t.Errorf("%v, then %v, %v", hosts, again, err)
		}
	})
}

func FuzzPEM(f *testing.F) {
	key, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	text, err := KeyPEM(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := ParseKey(b); err == nil && len(k) != 64 || err != nil && control.CodeOf(err) != control.ErrBadArgument {
			t.Error(k, err)
		}
		if _, _, err := ParseCertificate(b); err != nil && control.CodeOf(err) != control.ErrBadArgument {
			t.Error(err)
		}
	})
}
