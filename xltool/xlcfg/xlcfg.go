// Package xlcfg reads xl's configuration files: the syntax and the keys of
// xl.cfg(5) of Xen 4.17 (packages xen-doc, xen-utils-common).
//
// Reading is two steps. Parse knows the syntax and keeps positions; Decode
// knows the keys. In contrast to xl, a key that nobody knows is an error, and
// so is a contradiction: a guest that starts differently from what its file
// says costs more time than a message.
package xlcfg

import (
	"fmt"
	"strings"

	"nidus/rpc/control"
)

// DomainConfig is what a file means.
type DomainConfig = control.DomainConfig

// Limits on what is read: a file is written by hand.
const (
	MaxFileSize = 1 << 20
	maxDepth    = 16 // of nested lists
	maxSettings = 1000
	maxErrors   = 20 // that one Decode reports
)

// Pos is a place in a configuration.
type Pos struct {
	// File is the file's name, or what else the text came from.
	File string
	// Line and Col count from 1; Col counts bytes.
	Line, Col int
}

// String is file:line:column.
func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col) }

// Error is a defect of a configuration. errors.Is(err, control.ErrBadConfig)
// holds.
type Error struct {
	Pos Pos
	// Msg says what is wrong and what to do.
	Msg string
}

// Error gives place and message on one line.
func (e *Error) Error() string { return e.Pos.String() + ": " + e.Msg }

// Unwrap gives the kind of the error.
func (e *Error) Unwrap() error { return control.ErrBadConfig }

// Errors are all defects that one Decode found, in the order of the file; it
// never is empty.
type Errors []*Error

// Error gives one line for each.
func (es Errors) Error() string {
	var b strings.Builder
	for i, e := range es {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(e.Error())
	}
	return b.String()
}

// Unwrap gives the single errors.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

// Warning is something that doesn't keep the domain from starting.
type Warning struct {
	Pos Pos
	// Key is what it is about.
	Key string
	Msg string
}

// String gives place and message on one line.
func (w Warning) String() string { return w.Pos.String() + ": warning: " + w.Msg }

// Load parses src, which is the text of the file called name, applies
// overrides such as "memory=256", and decodes the result.
func Load(name string, src []byte, overrides ...string) (*DomainConfig, []Warning, error) {
	f, err := Parse(name, src)
	if err != nil {
		return nil, nil, err
	}
	for _, o := range overrides {
		if err := f.Override(o); err != nil {
			return nil, nil, err
		}
	}
	return Decode(f)
}
