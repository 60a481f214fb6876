// Package qemu runs an emulator with a serial line on its standard input and
// output, and talks to what runs in it as a person would: it waits for text and
// types. Any program with such a line will do; Bochs is run with it too.
package qemu

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Errors of Expect, which wraps them with what was seen.
var (
	ErrTimeout = errors.New("timed out")
	ErrEnded   = errors.New("the emulator ended")
	ErrFatal   = errors.New("the system under test died")
)

// Command is what to run.
type Command struct {
	Dir  string   // the working directory
	Args []string // program and arguments
	// Log is a file for all output, each line stamped with its time.
	Log string
	// Fatal is what only a system that died prints: waiting for something
	// else ends then. nil for none.
	Fatal *regexp.Regexp
}

// Machine is a running emulator.
type Machine struct {
	cmd   *exec.Cmd
	stdin *os.File
	start time.Time
	fatal *regexp.Regexp
	log   *stampedLog

	mu      sync.Mutex
	changed chan struct{} // closed and made anew when one of those below changes
	buf     []byte        // output that no Expect has consumed
	stamps  []stamp       // when which byte of buf came
	read    int           // how many bytes came before buf
	ended   bool
	exit    error
}

// stamp says that the bytes before end, counted from the start, came until at.
type stamp struct {
	end int
	at  time.Time
}

// Start starts the command. The process ends with this one.
func Start(c Command) (*Machine, error) {
	log, err := newStampedLog(c.Log)
	if err != nil {
		return nil, err
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, inR.Close(), inW.Close(), log.Close())
	}
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Dir, inR, outW, log.errors()
	// A group of its own, so that ^C at our terminal leaves the end to Close.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	log.note(strings.Join(quoted(c.Args), " "))
	m := &Machine{cmd: cmd, stdin: inW, start: time.Now(), fatal: c.Fatal, log: log, changed: make(chan struct{})}
	err = cmd.Start()
	inR.Close()
	outW.Close()
	if err != nil {
		return nil, errors.Join(err, inW.Close(), outR.Close(), log.Close())
	}
	go m.pump(outR)
	return m, nil
}

// pump collects the output until the emulator ends.
func (m *Machine) pump(out *os.File) {
	defer out.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := out.Read(b)
		if n > 0 {
			m.mu.Lock()
			m.buf = append(m.buf, b[:n]...)
			m.stamps = append(m.stamps, stamp{m.read + len(m.buf), time.Now()})
			m.log.Write(b[:n])
			m.signal()
			m.mu.Unlock()
		}
		if err != nil {
			break
		}
	}
	exit := m.cmd.Wait()
	m.mu.Lock()
	m.ended, m.exit = true, exit
	m.signal()
	m.mu.Unlock()
}

// signal wakes all who wait. Precondition: mu is held.
func (m *Machine) signal() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// Match is what Expect found.
type Match struct {
	// Groups are the match and its submatches.
	Groups []string
	// Before is the output before the match that was not consumed earlier.
	Before string
	// At is when the match was complete, since Start.
	At time.Duration
}

// Expect waits until the output that was not consumed yet matches, and consumes
// it up to the match's end.
func (m *Machine) Expect(re *regexp.Regexp, timeout time.Duration) (Match, error) {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	var died error
	for {
		m.mu.Lock()
		if at := re.FindSubmatchIndex(m.buf); at != nil {
			match := m.consume(re, at)
			m.mu.Unlock()
			return match, nil
		}
		if died == nil {
			if died = m.death(); died != nil {
				// What follows says more: leave it a second to reach the log.
				deadline.Reset(min(timeout, time.Second))
			}
		}
		buf, ended, exit, changed := m.buf, m.ended, m.exit, m.changed
		m.mu.Unlock()

		why := died
		if !ended {
			select {
			case <-changed:
				continue
			case <-deadline.C:
				if why == nil {
					why = fmt.Errorf("%w after %v", ErrTimeout, timeout)
				}
			}
		} else if why == nil {
			why = fmt.Errorf("%w (%s)", ErrEnded, exitText(exit))
		}
		return Match{}, fmt.Errorf("waiting for %q: %w; the last output was %q", re, why, lastLines(buf))
	}
}

// death tells whether what only a dead system prints was printed.
// Precondition: mu is held.
func (m *Machine) death() error {
	if m.fatal == nil {
		return nil
	}
	if at := m.fatal.FindIndex(m.buf); at != nil {
		return fmt.Errorf("%w: %s", ErrFatal, lineAt(m.buf, at[0]))
	}
	return nil
}

// consume takes a match out of buf. Precondition: mu is held.
func (m *Machine) consume(re *regexp.Regexp, at []int) Match {
	match := Match{Before: string(m.buf[:at[0]])}
	for i := 0; i < len(at); i += 2 {
		s := ""
		if at[i] >= 0 {
			s = string(m.buf[at[i]:at[i+1]])
		}
		match.Groups = append(match.Groups, s)
	}
	end := m.read + at[1]
	match.At = time.Since(m.start)
	for i, s := range m.stamps {
		if s.end >= end {
			match.At = s.at.Sub(m.start)
			m.stamps = m.stamps[i:]
			break
		}
	}
	m.buf, m.read = m.buf[at[1]:], end
	return match
}

// Send types text.
func (m *Machine) Send(text string) error {
	m.log.note("typed: " + fmt.Sprintf("%q", text))
	_, err := m.stdin.WriteString(text)
	if err == nil {
		return nil
	}
	// Its input is closed because it ended: how it did says more.
	if status, ended := m.Wait(time.Second); ended == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		err = fmt.Errorf("%w (%s, status %d); the last output was %q", ErrEnded, exitText(m.exit), status, lastLines(m.buf))
	}
	return fmt.Errorf("typing %q: %w", text, err)
}

// Wait waits for the emulator's end and returns its exit status.
func (m *Machine) Wait(timeout time.Duration) (status int, err error) {
	deadline := time.After(timeout)
	for {
		m.mu.Lock()
		ended, exit, changed := m.ended, m.exit, m.changed
		m.mu.Unlock()
		if ended {
			var e *exec.ExitError
			if errors.As(exit, &e) {
				return e.ExitCode(), nil
			}
			return 0, exit
		}
		select {
		case <-changed:
		case <-deadline:
			return 0, fmt.Errorf("waiting for the emulator's end: %w", ErrTimeout)
		}
	}
}

// Since is the time since Start.
func (m *Machine) Since() time.Duration { return time.Since(m.start) }

// PID is the emulator's process.
func (m *Machine) PID() int { return m.cmd.Process.Pid }

// Output is what no Expect has consumed yet.
func (m *Machine) Output() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return string(m.buf)
}

// Pause stops the emulator where it is, and returns when all of it stands still: its files
// are then as a power cut would leave them. Resume lets it go on.
func (m *Machine) Pause() error {
	if err := syscall.Kill(m.PID(), syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		stopped, err := allStopped(m.PID())
		if err != nil || stopped {
			return err
		}
		time.Sleep(time.Millisecond) // proc(5) has nothing to wait for
	}
}

// allStopped tells whether all threads of a process are stopped (proc(5), /proc/pid/stat).
func allStopped(pid int) (bool, error) {
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, name := range all {
		b, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return false, err
		}
		if _, state, ok := strings.Cut(string(b), ") "); !ok || state[0] != 'T' && state[0] != 'Z' {
			return false, nil
		}
	}
	if err == nil && len(all) == 0 {
		err = ErrEnded
	}
	return true, err
}

// Resume undoes Pause.
func (m *Machine) Resume() error { return syscall.Kill(m.PID(), syscall.SIGCONT) }

// Kill ends the emulator at once, and waits for its end.
func (m *Machine) Kill() error {
	if err := syscall.Kill(m.PID(), syscall.SIGKILL); err != nil {
		return err
	}
	_, err := m.Wait(30 * time.Second)
	return err
}

// Close ends the emulator, if it has not ended, and the log.
func (m *Machine) Close() error {
	syscall.Kill(-m.cmd.Process.Pid, syscall.SIGKILL) // the group; Wait tells whether it is gone
	_, err := m.Wait(30 * time.Second)
	return errors.Join(err, m.stdin.Close(), m.log.Close())
}

func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// lineAt is the line that holds byte i.
func lineAt(b []byte, i int) string {
	from := strings.LastIndexByte(string(b[:i]), '\n') + 1
	line, _, _ := strings.Cut(string(b[from:]), "\n")
	return strings.TrimSpace(line)
}

// lastLines is the end of b, short enough for a message.
func lastLines(b []byte) string {
	s := strings.TrimSpace(strings.ReplaceAll(string(b), "\r", ""))
	const most = 240
	if len(s) > most {
		s = "..." + s[len(s)-most:]
	}
	return s
}

// quoted makes arguments that a shell takes back.
func quoted(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if a == "" || strings.ContainsAny(a, " \t\"'$\\|&;<>()*?") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		out[i] = a
	}
	return out
}
