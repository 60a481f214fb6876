package authorized

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"nidus/rpc/control"
)

func key(n byte) (f control.Fingerprint) {
	f[0] = n
	return f
}

func TestParse(t *testing.T) {
	a, b := key(1), key(2)
	good := fmt.Sprintf("# who\n\n  admin %v anna # from home\nread-only\t%v b#ob\r\n", a, b)
	all, err := Parse("authorized", []byte(good))
	want := []control.RemoteClient{{Name: "anna", Fingerprint: a, Role: control.RoleAdmin}, {Name: "b#ob", Fingerprint: b}}
	if err != nil || !slices.Equal(all, want) {
		t.Errorf("%v, %v", all, err)
	}
	for text, says := range map[string]string{
		"admin":                                                      "authorized:1: a line is ROLE FINGERPRINT NAME",
		"\nroot " + a.String() + " anna":                             `authorized:2: "root" is no role; use read-only or admin`,
		"admin sha256:12 anna":                                       "is no fingerprint",
		"admin " + a.String()[7:] + " anna":                          "is no fingerprint",
		"admin " + a.String() + "00 anna":                            "is no fingerprint",
		"admin sha256:" + strings.Repeat("00", 32) + " anna":         "is no fingerprint",
		"admin " + a.String() + " 17":                                "add a letter",
		"admin " + a.String() + " a/b":                               "has the character",
		"admin " + a.String() + " x\nadmin " + a.String() + " y":     "authorized:2: that key is client x's already",
		"admin " + a.String() + " x\nread-only " + b.String() + " x": "authorized:2: client x has another key",
	} {
		all, err := Parse("authorized", []byte(text))
		var c *control.Error
		if !errors.As(err, &c) || c.Code != control.ErrBadConfig || c.Line == 0 || !strings.Contains(err.Error(), says) || all != nil {
			t.Errorf("%q: %v, %v; want %q", text, all, err, says)
		}
	}
	if _, err := Parse("f", make([]byte, MaxFile+1)); !errors.Is(err, control.ErrTooBig) {
		t.Error(err)
	}
	var many strings.Builder
	for i := range MaxClients + 1 {
		fmt.Fprintf(&many, "admin sha256:%064x c%d\n", i+1, i)
	}
	if _, err := Parse("f", []byte(many.String())); err == nil || !strings.Contains(err.Error(), "f:257: 256 clients") {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("admin " + key(1).String() + " a\nread-only " + key(2).String() + " b # c"))
	f.Add([]byte("# x\n\nadmin"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := Parse("f", text)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q", err)
			}
			return
		}
		again, err := Parse("f", Format(all))
		if err != nil || !slices.Equal(all, again) {
			t.Errorf("%v, then %v, %v", all, again, err)
		}
	})
}

// The list does what a map of names would, and ends the connections of those whose
// rights change, and no others.
func TestListModel(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var l List
	model := map[string]control.RemoteClient{}
	type live struct {
		s     *Session
		ended int
	}
	var sessions []*live
	taken := func(f control.Fingerprint) string {
		for _, c := range model {
			if c.Fingerprint == f {
				return c.Name
			}
		}
		return ""
	}
	for step := range 20000 {
		c := control.RemoteClient{Name: fmt.Sprintf("c%d", r.IntN(6)), Fingerprint: key(byte(1 + r.IntN(6))), Role: control.Role(r.IntN(2))}
		var changed control.Fingerprint
		before := make([]int, len(sessions))
		for i, s := range sessions {
			before[i] = s.ended
		}
		old, there := model[c.Name]
		switch r.IntN(4) {
		case 0, 1:
			var want error
			switch {
			case taken(c.Fingerprint) != "" && taken(c.Fingerprint) != c.Name, there && old.Fingerprint != c.Fingerprint:
				want = control.ErrExists
			default:
				if there && old.Role != c.Role {
					changed = c.Fingerprint
				}
				model[c.Name] = c
			}
			if err := l.Allow(c); !errors.Is(err, want) {
				t.Fatalf("step %d: allow %v: %v, want %v", step, c, err, want)
			}
		case 2:
			err := l.Revoke(c.Name)
			if there {
				changed = old.Fingerprint
			} else if !errors.Is(err, control.ErrNoClient) {
				t.Fatalf("step %d: revoke %v: %v", step, c.Name, err)
			}
			if there && err != nil {
				t.Fatalf("step %d: revoke %v: %v", step, c.Name, err)
			}
			delete(model, c.Name)
		case 3:
			n := &live{}
			s, err := l.Admit(c.Fingerprint, func() { n.ended++ })
			if (err == nil) != (taken(c.Fingerprint) != "") || err == nil && s.Name != taken(c.Fingerprint) {
				t.Fatalf("step %d: admit %v: %v", step, c.Fingerprint, err)
			}
			if err == nil {
				n.s = s
				sessions, before = append(sessions, n), append(before, 0)
			}
			if len(sessions) > 8 {
				i := r.IntN(len(sessions))
				sessions[i].s.Leave()
				sessions, before = slices.Delete(sessions, i, i+1), slices.Delete(before, i, i+1)
			}
		}
		for i, s := range sessions {
			want := before[i]
			if s.s.Fingerprint == changed {
				want++
			}
			if s.ended != want {
				t.Fatalf("step %d: a connection of %s was ended %d times, want %d", step, s.s.Name, s.ended, want)
			}
			name := taken(s.s.Fingerprint)
			role := model[name].Role
			if look, change := s.s.May("x", false), s.s.May("x", true); (look == nil) != (name != "") || (change == nil) != (name != "" && role == control.RoleAdmin) {
				t.Fatalf("step %d: %v may look: %v, change: %v", step, s.s.RemoteClient, look, change)
			}
		}
		if got := l.Clients(); len(got) != len(model) || !slices.IsSortedFunc(got, func(a, b control.RemoteClient) int { return strings.Compare(a.Name, b.Name) }) {
			t.Fatalf("step %d: %v, want %v", step, got, model)
		}
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]control.RemoteClient{
		"no name": {Fingerprint: key(1)}, "comment": {Name: "#a", Fingerprint: key(1)}, "no key": {Name: "a"}, "role": {Name: "a", Fingerprint: key(1), Role: 2}, "spaces": {Name: "a b", Fingerprint: key(1)},
	} {
		if err := new(List).Allow(c); !errors.Is(err, control.ErrBadArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
