package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// terminal is a scripted one.
type terminal struct {
	t    *testing.T
	keys chan []byte
	mu   sync.Mutex
	out  strings.Builder
	seen int // of out, by expect
	more chan struct{}
}

func newTerminal(t *testing.T) *terminal {
	return &terminal{t: t, keys: make(chan []byte, 100), more: make(chan struct{}, 1)}
}

func (tt *terminal) Read(ctx context.Context, p []byte) (int, error) {
	select {
	case k, ok := <-tt.keys:
		if !ok {
			return 0, io.EOF
		}
		return copy(p, k), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (tt *terminal) Write(p []byte) (int, error) {
	tt.mu.Lock()
	tt.out.Write(p)
	tt.mu.Unlock()
	select {
	case tt.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

// send types keys, in pieces that don't care about where keys end.
func (tt *terminal) send(s string) {
	for len(s) > 0 {
		n := min(len(s), 1+rand.IntN(5))
		tt.keys <- []byte(s[:n])
		s = s[n:]
	}
}

// expect waits until the output has want after what was expected before.
func (tt *terminal) expect(want string) {
	tt.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		tt.mu.Lock()
		rest := tt.out.String()[tt.seen:]
		if i := strings.Index(rest, want); i >= 0 {
			tt.seen += i + len(want)
			tt.mu.Unlock()
			return
		}
		tt.mu.Unlock()
		select {
		case <-tt.more:
		case <-deadline:
			tt.t.Fatalf("no %q in %q", want, rest)
		}
	}
}

const draw = "\r" + Prompt // how a line begins

// session starts a shell; stop ends it and returns what Run returned.
func session(t *testing.T) (tt *terminal, f *fakePlane, stop func() error) {
	before := runtime.NumGoroutine()
	tt, f = newTerminal(t), newFake()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, tt, f) }()
	tt.expect(draw)
	return tt, f, func() error {
		cancel()
		err := <-done
		for i := 0; runtime.NumGoroutine() > before; i++ {
			if i == 100 {
				t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
				break
			}
			time.Sleep(time.Millisecond)
		}
		return err
	}
}

func TestSession(t *testing.T) {
	tt, f, stop := session(t)
	tt.send("list\r")
	tt.expect("list\r\nName                                        ID   Mem VCPUs\tState\tTime(s)\r\nDomain-0 ")
	tt.expect("58.1\r\n" + draw)
	tt.send("xl create -q debian.cfg\r\n")
	tt.expect(draw)
	tt.send("nonsense\r")
	tt.expect("xl: unknown command \"nonsense\"; \"help\" lists what there is\r\n" + draw)
	tt.send("pause 'deb\r")
	tt.expect("xl: a ' is not closed; add another one\r\n" + draw)
	tt.send("lost line\x03")
	tt.expect("lost line^C\r\n" + draw)
	tt.send("pause debian\n")
	tt.expect(draw)
	// ^C interrupts a command that waits.
	f.deaf = true
	tt.send("shutdown -w debian\r")
	tt.expect("Shutting down domain 1\r\n")
	tt.send("\x03")
	tt.expect("xl shutdown: interrupted\r\n" + draw)
	if got := strings.Join(f.log, ","); got != "pause 1,shutdown 1" {
		t.Error(got)
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestEndOfInput(t *testing.T) {
	tt, _, stop := session(t)
	close(tt.keys)
	time.Sleep(10 * time.Millisecond)
	if err := stop(); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestConsole(t *testing.T) {
	tt, f, stop := session(t)
	tt.send("create -c debian.cfg\r")
	tt.expect("history of debian\r\nbooting debian\r\n")
	tt.keys <- []byte("ls\x03\r")
	tt.expect(`<"ls\x03\r">`)
	tt.keys <- []byte("x\x1dlist debian\r") // what follows ^] is the shell's
	tt.expect(draw)
	tt.expect("debian                                       1   256")
	tt.expect(draw)
	// The console again, and the domain ends.
	tt.send("console debian\r")
	tt.expect("history of debian")
	f.Destroy(context.Background(), 1)
	tt.expect("\r\n" + draw)
	tt.send("console debian\r")
	tt.expect("no domain \"debian\"")
	tt.expect(draw)
	stop()
}

// TestConsoleThroughMain attaches with a plain reader.
func TestConsoleThroughMain(t *testing.T) {
	f := newFake()
	r, w := io.Pipe()
	var out strings.Builder
	done := make(chan int)
	go func() {
		done <- Main(context.Background(), []string{"create", "-c", "-q", "debian.cfg"}, r, &out, &out, f)
	}()
	go w.Write([]byte("h")) // halts the guest
	if st := <-done; st != ExitSuccess {
		t.Error(st)
	}
	if !strings.HasPrefix(out.String(), "history of debian\r\nbooting debian\r\n") {
		t.Errorf("%q", out.String())
	}
	w.Close()
}

func TestEditing(t *testing.T) {
	const (
		up, down, left, right = "\x1b[A", "\x1b[B", "\x1b[D", "\x1bOC"
		home, end, del        = "\x1b[H", "\x1b[4~", "\x1b[3~"
	)
	for _, tt := range []struct{ keys, want string }{
		{"abc\r", "abc"},
		{"abc\n", "abc"},
		{"ac" + left + "b\r", "abc"},
		{"bc\x01a\x05d\r", "abcd"},
		{"bc" + home + "a" + end + "d\r", "abcd"},
		{"abx\x7fc\r", "abc"},
		{"abx\bc\r", "abc"},
		{"axb" + left + left + del + "\r", "ab"},
		{"axb\x02\x02\x04\r", "ab"},
		{"one two\x17three\r", "one three"},
		{"one two\x02\x02\x0b\r", "one t"},
		{"one two\x02\x02\x15\r", "wo"},
		{"one two \x17\x19\x19\r", "one two two "},
		{"one two\x1bbX\x1bfY\r", "one XtwoY"},
		{"one two" + "\x1b[1;5D" + "X" + "\x1b[1;3D\x1b[1;3D" + "\x1b[1;5C" + "Y\r", "oneY Xtwo"},
		{"one two\x1b[1;2D-\x1b[1;9999999D+\r", "one tw+-o"}, // shift alone moves by one
		{"one two\x01\x1bdX\r", "X two"},
		{"one two\x1b\x7fX\x1b\bY\x19\r", "one YX"},
		{"ä€\x7fö\r", "äö"},
		{"a\xff\xc3(b\r", "a(b"},
		{"a\x1b[999;5Zb\x1b[Gc\x1bxd\r", "abcd"},
		{"a\x00\x1cb\r", "ab"},
		{left + del + "\x7f\x04\x0b\x15\x17" + down + "x\r", "x"},
		{up + "\r", "second one"},
		{up + up + up + "\r", "first one"},
		{"draft" + up + up + down + down + "!\r", "draft!"},
		{up + "x" + up + "\r", "first one"},
		{"\x12fir\r", "first one"},
		{"\x12one\r", "second one"},
		{"\x12one\x12\r", "first one"},
		{"\x12one\x12\x12\r", "first one"},
		{"\x12fix\x7f\x05!\r", "first one!"},
		{"old\x12fir\x07\r", "old"},
		{"old\x12fir\x03\r", "old"},
		{"old\x12zzz\r", "old"},
		{"\x12one" + strings.Repeat("€", 40) + "\r", "second one"},
		{"a\x0cb\r", "ab"},
		{"abc\x03", ""},
	} {
		e := newEditor(tt.keys)
		e.hist.lines = []string{"first one", "second one"}
		got, err := e.readLine(context.Background())
		if err != nil || got != tt.want {
			t.Errorf("%q: %q, %v; want %q", tt.keys, got, err, tt.want)
		}
	}
	if _, err := newEditor("abc").readLine(context.Background()); err != io.EOF {
		t.Error("end of input:", err)
	}
}

func newEditor(keys string) *editor {
	in := newInput()
	in.buf, in.err = []byte(keys), io.EOF
	return &editor{keys: keyReader{in: in}, out: io.Discard, prompt: Prompt, complete: func(context.Context, string) (int, []string) { return 0, nil }}
}

func TestCompletion(t *testing.T) {
	f := newFake()
	f.add(f.domains[0].cfg, 0)
	f.domains[1].info.Name = "Domain-1"
	f.domains[1].cfg.Name = "Domain-1"
	for keys, want := range map[string]string{
		"unp\t\r":                   "unpause ",
		"xl unp\t\r":                "xl unpause ",
		"re\t\r":                    "re", // reboot, rename, restore
		"vcpu-\tl\t\r":              "vcpu-list ",
		"pause D\t\r":               "pause Domain-",
		"pause D\t1\t\r":            "pause Domain-1 ",
		"pause D\t1\tx\t\r":         "pause Domain-1 x",
		"create de\t\r":             "create debian.cfg ",
		"create -c de\tmem\t1\r":    "create -c debian.cfg memory=1",
		"create -f de\t\r":          "create -f debian.cfg ",
		"trigger 0 n\t\r":           "trigger 0 nmi ",
		"list --v\t\r":              "list --verbose ",
		"sched-credit2 -d D\t1\r":   "sched-credit2 -d Domain-1",
		"sched-credit2 -w \t1\r":    "sched-credit2 -w 1",
		"help cons\t\r":             "help console ",
		"nix \tx\r":                 "nix x",
		"se 0\x01u\x1b[C\x1b[C\t\r": "use 0",
		"pau 0\x01\x1bf\t\r":        "pause  0",
	} {
		e := newEditor(keys)
		e.complete = completer(f)
		if got, err := e.readLine(context.Background()); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", keys, got, err, want)
		}
	}
	var out strings.Builder
	e := newEditor("re\t\t\r")
	e.out, e.complete = &out, completer(f)
	e.readLine(context.Background())
	if !strings.Contains(out.String(), "\r\nreboot  rename  restore\r\n"+draw+"re") {
		t.Errorf("%q", out.String())
	}
}

// screen is the last row of a VT100 that understands what the editor sends.
type screen struct {
	row []rune
	col int
}

func (s *screen) write(text string) error {
	rs := []rune(text)
	for i := 0; i < len(rs); i++ {
		switch r := rs[i]; {
		case r == '\r':
			s.col = 0
		case r == '\n':
			s.row = nil
		case r == '\a':
		case r == 0x1b:
			n := 0
			for i += 2; i < len(rs) && rs[i] >= '0' && rs[i] <= '9'; i++ {
				n = n*10 + int(rs[i]-'0')
			}
			switch rs[i] {
			case 'C':
				s.col += n
			case 'D':
				s.col -= n
			case 'K':
				s.row = s.row[:min(s.col, len(s.row))]
			case 'H':
				s.col = 0
			case 'J':
				s.row = nil
			default:
				return fmt.Errorf("unknown sequence in %q", text)
			}
		default:
			if s.col >= columns {
				return fmt.Errorf("column %d after %q", s.col, text)
			}
			for len(s.row) <= s.col {
				s.row = append(s.row, ' ')
			}
			s.row[s.col] = r
			s.col++
		}
		if s.col < 0 || s.col > columns {
			return fmt.Errorf("column %d after %q", s.col, text)
		}
	}
	return nil
}

// TestScreen types at random and checks that the screen always shows the line,
// with the cursor in its place.
func TestScreen(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	special := []key{ctrl('A'), ctrl('E'), ctrl('B'), ctrl('F'), ctrl('K'), ctrl('U'), ctrl('W'), ctrl('Y'), ctrl('Y'), ctrl('D'), 0x7f, 0x7f,
		ctrl('P'), ctrl('N'), ctrl('L'), keyUp, keyDown, keyLeft, keyRight, keyWordLeft, keyWordRight, keyHome, keyEnd, keyDelete, keyCutWordLeft, keyCutWordRight, keyUnknown}
	for round := range 200 {
		var out strings.Builder
		var s screen
		e := newEditor("")
		e.out = &out
		e.hist.lines = []string{"short", strings.Repeat("long line ", 30)}
		e.hist.rewind()
		e.set("")
		e.refresh()
		for step := range 300 {
			k := special[rng.IntN(len(special))]
			if rng.IntN(4) > 0 {
				k = []key{'a', 'b', ' ', 'ö', '€'}[rng.IntN(5)]
			}
			e.edit(k)
			if err := s.write(out.String()); err != nil {
				t.Fatalf("round %d, step %d, key %q: %v", round, step, k, err)
			}
			out.Reset()
			want := Prompt + string(e.line[e.first:min(len(e.line), e.first+e.room())])
			if got := string(s.row); strings.TrimRight(got, " ") != strings.TrimRight(want, " ") || s.col != len(Prompt)+e.pos-e.first {
				t.Fatalf("round %d, step %d, key %q:\nscreen %q, column %d\nline   %q, column %d", round, step, k, got, s.col, want, len(Prompt)+e.pos-e.first)
			}
		}
	}
}

func FuzzTyping(f *testing.F) {
	for _, s := range []string{"list\r", "\x1b[999;;;~\x12abc\x12\x7f\r", "create \t\t\x15\r", "\xc3\x28\xf0\x9f\r"} {
		f.Add(s)
	}
	plane := newFake()
	f.Fuzz(func(t *testing.T, keys string) {
		if len(keys) > maxInput {
			return
		}
		var out strings.Builder
		e := newEditor(keys)
		e.out, e.complete = &out, completer(plane)
		for {
			line, err := e.readLine(context.Background())
			if err != nil {
				return
			}
			if len([]rune(line)) > maxLine || strings.ContainsAny(line, "\r\n\x1b\x00") {
				t.Fatalf("line %q", line)
			}
			split(line)
		}
	})
}
