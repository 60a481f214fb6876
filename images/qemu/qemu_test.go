package qemu

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// shell starts a shell script in the emulator's place.
func shell(t *testing.T, script string) (*Machine, string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	m, err := Start(Command{Args: []string{"sh", "-c", script}, Log: log, Fatal: regexp.MustCompile(`PANIC`)})
	if err != nil {
		t.Fatal(err)
	}
	return m, log
}

func TestConversation(t *testing.T) {
	m, log := shell(t, `printf 'hello\r\nprompt# '; read x; echo "got $x"; exit 3`)
	if match, err := m.Expect(regexp.MustCompile(`prompt# `), 10*time.Second); err != nil || match.Before != "hello\r\n" || match.At <= 0 {
		t.Fatalf("Expect = %+v, %v", match, err)
	}
	if err := m.Send("word\n"); err != nil {
		t.Fatal(err)
	}
	if match, err := m.Expect(regexp.MustCompile(`got (\w+)`), 10*time.Second); err != nil || match.Groups[1] != "word" {
		t.Fatalf("Expect = %+v, %v", match, err)
	}
	if _, err := m.Expect(regexp.MustCompile(`more`), 10*time.Second); !errors.Is(err, ErrEnded) {
		t.Errorf("Expect at the end: %v", err)
	}
	if status, err := m.Wait(10 * time.Second); status != 3 || err != nil {
		t.Errorf("Wait = %d, %v", status, err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(b), ` hello`+"\n") || !strings.Contains(string(b), `== typed: "word\n"`) {
		t.Errorf("log %q, %v", b, err)
	}
}

func TestFailures(t *testing.T) {
	m, _ := shell(t, `echo one; sleep 60`)
	if _, err := m.Expect(regexp.MustCompile(`two`), 300*time.Millisecond); !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "one") {
		t.Errorf("Expect = %v, want a timeout that shows the output", err)
	}
	begin := time.Now()
	if err := m.Close(); err != nil || time.Since(begin) > 10*time.Second {
		t.Errorf("Close took %v: %v", time.Since(begin), err)
	}
	m, _ = shell(t, `echo last words; kill -SEGV $$`)
	if _, err := m.Wait(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	if err := m.Send("x\n"); !errors.Is(err, ErrEnded) || !strings.Contains(err.Error(), "segmentation fault") || !strings.Contains(err.Error(), "last words") {
		t.Errorf("Send = %v, want how the emulator ended", err)
	}
	m, _ = shell(t, `echo; echo PANIC here; echo trace; sleep 60`)
	if _, err := m.Expect(regexp.MustCompile(`two`), 30*time.Second); !errors.Is(err, ErrFatal) || !strings.Contains(err.Error(), "PANIC here") {
		t.Errorf("Expect = %v, want what died", err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
