package regress

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// hmp is QEMU's monitor for people.
type hmp struct{ net.Conn }

// monitorSocket is where it is, in the case's folder, by monitorArgs.
const monitorSocket = "monitor"

// monitorArgs are QEMU's arguments for a monitor, beside the -monitor none of boot.
func monitorArgs() []string {
	return []string{"-chardev", "socket,id=mon,path=" + monitorSocket + ",server=on,wait=off", "-mon", "chardev=mon"}
}

// monitor reaches it. The caller closes it.
func (t *T) monitor() (hmp, error) {
	c, err := net.DialTimeout("unix", filepath.Join(t.dir, monitorSocket), 5*time.Second)
	return hmp{c}, err
}

// do gives commands and waits until they are done.
func (m hmp) do(commands string) error {
	_, err := m.ask(commands)
	return err
}

// version is QEMU's answer to info version.
var version = regexp.MustCompile(`^\d+\.\d+\.\d+`)

// ask does, and returns the lines of the answer.
func (m hmp) ask(commands string) (lines []string, err error) {
	m.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintf(m, "%s\ninfo version\n", commands); err != nil {
		return nil, err
	}
	for s := bufio.NewScanner(m); ; {
		if !s.Scan() {
			return nil, fmt.Errorf("QEMU's monitor ends: %w", errors.Join(s.Err(), net.ErrClosed))
		}
		switch text := s.Text(); {
		case strings.HasPrefix(text, "Error"):
			return nil, fmt.Errorf("QEMU's monitor, at %q: %s", commands, text)
		case version.MatchString(text):
			return lines, nil
		default:
			lines = append(lines, text)
		}
	}
}
