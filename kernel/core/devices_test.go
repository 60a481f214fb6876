package core

import (
	"errors"
	"strings"
	"testing"
	"time"

	"nidus/drivers/backend"
	"nidus/kernel/domain"
	"nidus/rpc/control"
)

// stub is a device that counts how often it was closed.
type stub struct{ closed int }

func (s *stub) info() control.DeviceInfo { return control.DeviceInfo{DevID: s.closed} }
func (s *stub) backend() *backend.Device { return nil }
func (s *stub) close()                   { s.closed++ }
func (s *stub) held() string             { return "it" }

// TestHangs: a device that does not end keeps nobody from the list of all.
func TestHangs(t *testing.T) {
	var l devices[*stuck]
	s := &stuck{closing: make(chan bool), end: make(chan bool)}
	l.add(s)
	done := make(chan error)
	go func() { done <- l.detach(t.Context(), func() (*stuck, error) { return s, nil }, true) }()
	<-s.closing
	listed := make(chan int)
	go func() { listed <- len(l.infos()) }()
	select {
	case n := <-listed:
		if n != 1 {
			t.Errorf("%d devices while one is being closed", n)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the list waits for a device's end")
	}
	close(s.end)
	if err := <-done; err != nil || len(l.infos()) != 0 {
		t.Errorf("%v; %d devices", err, len(l.infos()))
	}
}

// stuck is a device that ends when it is told to.
type stuck struct {
	stub
	closing, end chan bool
}

func (s *stuck) close() {
	close(s.closing)
	<-s.end
}

// TestDevices: there are so many and no more, one that is taken away is closed once, and after
// the end none comes.
func TestDevices(t *testing.T) {
	var l devices[*stub]
	e := &Entry{Domain: &domain.Domain{ID: 7}}
	const most = 3
	var all []*stub
	for range most {
		if err := l.room(e, most, "stub 'x'", "stubs"); err != nil {
			t.Fatal(err)
		}
		all = append(all, &stub{})
		l.all = append(l.all, all[len(all)-1])
	}
	if err := l.room(e, most, "stub 'x'", "stubs"); err == nil || !strings.Contains(err.Error(), "stub 'x': 3 stubs are the most") {
		t.Errorf("one more than there may be: %v", err)
	}
	missing := errors.New("there is none")
	if err := l.detach(t.Context(), func() (*stub, error) { return nil, missing }, true); err != missing || len(l.infos()) != most {
		t.Errorf("detach what is not there: %v; %d left", err, len(l.infos()))
	}
	for range 2 { // the second time somebody else was faster
		if err := l.detach(t.Context(), func() (*stub, error) { return all[1], nil }, true); err != nil || all[1].closed != 1 || len(l.infos()) != most-1 {
			t.Errorf("detach: %v; closed %d times, %d left", err, all[1].closed, len(l.infos()))
		}
	}
	if err := l.room(e, most, "stub 'x'", "stubs"); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	l.end()
	l.end()
	for i, s := range all {
		if s.closed != 1 {
			t.Errorf("device %d is closed %d times", i, s.closed)
		}
	}
	if err := l.room(e, most, "stub 'x'", "stubs"); err == nil || !strings.Contains(err.Error(), "is being destroyed") || len(l.infos()) != 0 {
		t.Errorf("after the end: %v; %d left", err, len(l.infos()))
	}
}
