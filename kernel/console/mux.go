package console

import (
	"fmt"
	"slices"

	"nidus/mm"
)

// Mux decides who gets what is typed on the serial line: the shell, or the
// console of one domain. The switch character, typed three times running, moves
// the input on to the next of them (xen-command-line.pandoc, conswitch). It is
// a pure state machine and not safe for use by several goroutines.
type Mux struct {
	key    byte // 0: there is no way to switch
	run    int  // how many of key came running
	doms   []mm.DomID
	to     mm.DomID // domain 0 is the shell
	quiet  bool
	notice func(string)
}

// DefaultSwitch is Ctrl-A.
const DefaultSwitch = 1

const switchRun = 3

// NewMux returns a Mux whose input goes to the shell. notice prints a line for
// the person at the terminal.
func NewMux(notice func(string)) *Mux {
	return &Mux{key: DefaultSwitch, doms: []mm.DomID{0}, notice: notice}
}

// Configure sets the switch character from conswitch's value: a letter a to z
// for Ctrl with it, or '`' for none; an 'x' behind it suppresses the notice at
// boot.
func (m *Mux) Configure(conswitch string) error {
	s := conswitch
	if len(s) == 2 && s[1] == 'x' {
		m.quiet, s = true, s[:1]
	}
	switch {
	case s == "`":
		m.key = 0
	case len(s) == 1 && s[0] >= 'a' && s[0] <= 'z':
		m.key = s[0] - 'a' + 1
	default:
		return fmt.Errorf("conswitch=%s: want a letter from a to z, or ` for none, and x behind it for no notice", conswitch)
	}
	return nil
}

// Target returns the domain that gets the input; 0 is the shell.
func (m *Mux) Target() mm.DomID { return m.to }

// Start prints the notice that says where input goes at boot.
func (m *Mux) Start() {
	if !m.quiet {
		m.announce()
	}
}

// AddDomain puts a domain into the circle.
func (m *Mux) AddDomain(dom mm.DomID) {
	if i, ok := slices.BinarySearch(m.doms, dom); !ok {
		m.doms = slices.Insert(m.doms, i, dom)
	}
}

// RemoveDomain takes a domain out of the circle; if it had the input, the shell
// gets it.
func (m *Mux) RemoveDomain(dom mm.DomID) {
	if i, ok := slices.BinarySearch(m.doms, dom); ok && dom != 0 {
		m.doms = slices.Delete(m.doms, i, i+1)
		if m.to == dom {
			m.SwitchTo(0)
		}
	}
}

// SwitchTo moves the input to a domain, if it is in the circle.
func (m *Mux) SwitchTo(dom mm.DomID) bool {
	if _, ok := slices.BinarySearch(m.doms, dom); !ok {
		return false
	}
	m.run = 0
	m.to = dom
	m.announce()
	return true
}

// Input takes typed bytes and calls deliver with those that are meant for a
// target. Switch characters that turn out to be no switch are delivered once it
// is known.
func (m *Mux) Input(b []byte, deliver func(to mm.DomID, b []byte)) {
	start := 0
	for i, c := range b {
		if m.key == 0 || c != m.key {
			if m.run > 0 {
				deliver(m.to, m.held())
				start = i
			}
			continue
		}
		if i > start {
			deliver(m.to, b[start:i])
		}
		start = i + 1
		if m.run++; m.run == switchRun {
			i, _ := slices.BinarySearch(m.doms, m.to)
			m.SwitchTo(m.doms[(i+1)%len(m.doms)])
		}
	}
	if start < len(b) {
		deliver(m.to, b[start:])
	}
}

// held returns the switch characters that were kept back.
func (m *Mux) held() []byte {
	n := m.run
	m.run = 0
	return slices.Repeat([]byte{m.key}, n)
}

func (m *Mux) announce() {
	if m.notice == nil {
		return
	}
	who := "Nidus"
	if m.to != 0 {
		who = fmt.Sprintf("DOM%d", m.to)
	}
	how := ""
	if m.key != 0 {
		how = fmt.Sprintf(" (type 'CTRL-%c' three times to switch input)", m.key-1+'a')
	}
	m.notice(fmt.Sprintf("*** Serial input to %s%s", who, how))
}
