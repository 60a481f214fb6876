package backend

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"nidus/kernel/xenstore"
	"nidus/mm"
)

// State is that of one end of a device (io/xenbus.h, enum xenbus_state).
type State int

// The states.
const (
	Unknown State = iota
	Initialising
	InitWait
	Initialised
	Connected
	Closing
	Closed
	Reconfiguring
	Reconfigured
)

// ParseState reads a state node; what is none is Unknown.
func ParseState(s string) State {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || State(n) > Reconfigured {
		return Unknown
	}
	return State(n)
}

// Node is a node of the backend's directory.
type Node struct{ Name, Value string }

// Num makes a node with a number.
func Num[T ~int | ~uint32 | ~uint64](name string, v T) Node {
	return Node{name, strconv.FormatUint(uint64(v), 10)}
}

// Flag makes a node that is 0 or 1.
func Flag(name string, v bool) Node {
	if v {
		return Node{name, "1"}
	}
	return Node{name, "0"}
}

// Path returns the directories of a device: the guest's and ours.
func Path(dom mm.DomID, kind string, id uint32) (front, back string) {
	return fmt.Sprintf("/local/domain/%d/device/%s/%d", dom, kind, id), fmt.Sprintf("/local/domain/0/backend/%s/%d/%d", kind, dom, id)
}

// Frontend is the guest's directory of a device. What it says is the guest's, and
// checked; it may change at any moment.
type Frontend struct {
	nodes xenstore.Nodes
	path  string
}

// longest is the longest value that is looked at.
const longest = 64

// Text returns a node's value, "" if it is not there. An error is one of the guest's.
func (f Frontend) Text(name string) (string, error) {
	s, err := f.nodes.Read(f.path + "/" + name)
	if errors.Is(err, xenstore.ENOENT) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if len(s) > longest {
		return "", fmt.Errorf("%s has %d bytes", name, len(s))
	}
	return s, nil
}

// Num returns the number in a node, or def if it is not there. An error says that it is
// none, or not in low to high.
func (f Frontend) Num(name string, def, low, high uint32) (uint32, error) {
	s, err := f.Text(name)
	if s == "" || err != nil {
		return def, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 32)
	if err != nil || uint32(n) < low || uint32(n) > high {
		return 0, fmt.Errorf("%s is %q, not a number from %d to %d", name, s, low, high)
	}
	return uint32(n), nil
}

// Must is Num for a node that has to be there.
func (f Frontend) Must(name string) (uint32, error) {
	s, err := f.Text(name)
	if err == nil && s == "" {
		err = fmt.Errorf("%s is missing", name)
	}
	if err != nil {
		return 0, err
	}
	return f.Num(name, 0, 0, 1<<32-1)
}
