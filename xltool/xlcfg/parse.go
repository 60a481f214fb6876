package xlcfg

import (
	"slices"
	"strings"
)

// Kind is the kind of a Value.
type Kind uint8

// The kinds of values. Xen makes no difference between "512" and 512, so
// neither does decoding.
const (
	String Kind = iota
	Number
	List
)

// Value is the right side of an assignment.
type Value struct {
	Kind Kind
	// Text is a string's content, or a number as written.
	Text string
	// List holds a list's elements.
	List []Value
	Pos  Pos
	// quote is the token's.
	quote int
}

// at is the place of a byte of Text, or where the value begins if it isn't
// written as it is meant.
func (v Value) at(off int) Pos {
	p := v.Pos
	if v.quote > 0 {
		p.Col += v.quote + off
	}
	return p
}

// Setting is one key with its value, += applied.
type Setting struct {
	Key   string
	Value Value
	Pos   Pos
}

// File is a parsed configuration.
type File struct {
	Name string
	// Settings are in order of first appearance, each key once: a later
	// assignment replaces the value of an earlier one.
	Settings []Setting
	// Warnings are those of the syntax.
	Warnings []Warning
}

// Get returns a key's setting, or nil.
func (f *File) Get(key string) *Setting {
	for i := range f.Settings {
		if f.Settings[i].Key == key {
			return &f.Settings[i]
		}
	}
	return nil
}

// Parse reads the text of a configuration file. name is for messages only.
func Parse(name string, src []byte) (*File, error) {
	f := &File{Name: name}
	if len(src) > MaxFileSize {
		return nil, errorf(Pos{name, 1, 1}, "the file has %d bytes, more than %d; is it a configuration file?", len(src), MaxFileSize)
	}
	text := strings.TrimPrefix(string(src), "\ufeff")
	p := parser{lexer: lexer{src: text, file: name, line: 1}, file: f}
	if err := p.run(); err != nil {
		return nil, err
	}
	return f, nil
}

// Override applies one argument of a command line, such as memory=256 or
// 'cpus="0-3"; vcpus=2', as if it stood after the file. A value may lack its
// quotes, since a shell takes them away.
func (f *File) Override(arg string) error {
	p := parser{lexer: lexer{src: arg, file: "argument " + shorten(arg), line: 1}, file: f, override: true}
	if err := p.run(); err != nil {
		if quoted, ok := quoteBare(arg); ok {
			p.lexer = lexer{src: quoted, file: p.lexer.file, line: 1}
			if p.run() == nil {
				return nil
			}
		}
		return err
	}
	return nil
}

// quoteBare puts quotes around all of an argument's value.
func quoteBare(arg string) (string, bool) {
	key, val, ok := strings.Cut(arg, "=")
	val = strings.TrimSpace(val)
	if !ok || val == "" || strings.ContainsAny(val, "\"'\\\n;[]") {
		return "", false
	}
	return key + `="` + val + `"`, true
}

// python are words that begin a statement in xm's files, which were programs.
var python = []string{"import", "from", "def", "if", "else", "elif", "for", "while", "print", "try", "except", "return"}

type parser struct {
	lexer
	file     *File
	tok      token
	override bool
}

func (p *parser) advance() *Error {
	t, err := p.next()
	p.tok = t
	return err
}

// run parses everything; a part that fails leaves its assignment undone.
func (p *parser) run() error {
	for {
		if err := p.advance(); err != nil {
			return err
		}
		switch p.tok.kind {
		case tokEOF:
			return nil
		case tokSep:
			continue
		case tokIdent:
			if err := p.setting(); err != nil {
				return err
			}
		default:
			return errorf(p.tok.pos, "%v where a key should be; a line is key = value", p.tok)
		}
		if p.tok.kind == tokEOF {
			return nil
		}
	}
}

func (p *parser) setting() *Error {
	key := p.tok
	if err := p.advance(); err != nil {
		return err
	}
	op := p.tok
	if op.kind != tokAssign && op.kind != tokAppend {
		if slices.Contains(python, key.text) {
			return errorf(key.pos, "%q begins a Python statement; xl's files have only key = value: write down the values that it makes", key.text)
		}
		return errorf(op.pos, "%v after the key %s; write %s = value", op, key.text, key.text)
	}
	if err := p.advance(); err != nil {
		return err
	}
	v, err := p.value(key.text, 0)
	if err != nil {
		return err
	}
	if err := p.advance(); err != nil {
		return err
	}
	if p.tok.kind != tokSep && p.tok.kind != tokEOF {
		return errorf(p.tok.pos, "%v after the value of %s; start a new line, or use quotes if it belongs to the value", p.tok, key.text)
	}
	return p.store(key, op.kind == tokAppend, v)
}

func (p *parser) value(key string, depth int) (Value, *Error) {
	t := p.tok
	v := Value{Text: t.text, Pos: t.pos, quote: t.quote}
	switch t.kind {
	case tokString:
		return v, nil
	case tokNumber:
		v.Kind = Number
		if _, err := parseNumber(t.text); err != nil {
			return v, errorf(t.pos, "%s = %s: %v", key, t.text, err)
		}
		return v, nil
	case tokIdent:
		switch {
		case t.text == "True" || t.text == "False":
			v.Kind, v.Text = Number, map[string]string{"True": "1", "False": "0"}[t.text]
			p.file.Warnings = append(p.file.Warnings, Warning{t.pos, key, t.text + " is Python's; write " + v.Text})
			return v, nil
		case p.override:
			return v, errorf(t.pos, "text needs quotes: write %q, and on a command line single quotes around the whole argument", t.text)
		case depth > 0:
			return v, errorf(t.pos, "text needs quotes: write %q", t.text)
		}
		return v, errorf(t.pos, "text needs quotes: write %s = %q", key, t.text)
	case tokOpen:
		if depth >= maxDepth {
			return v, errorf(t.pos, "lists in lists deeper than %d; is a ] missing?", maxDepth)
		}
		v.Kind, v.Text = List, ""
		list, err := p.list(key, depth+1)
		v.List = list
		return v, err
	}
	return v, errorf(t.pos, "%v where the value of %s should be; write a number, a \"string\" or a [list]", t, key)
}

// list parses from after [ to ], line ends are nothing in it.
func (p *parser) list(key string, depth int) ([]Value, *Error) {
	open := p.tok.pos
	var out []Value
	step := func() *Error {
		for {
			if err := p.advance(); err != nil {
				return err
			}
			if p.tok.kind != tokSep || p.tok.text == ";" {
				return nil
			}
		}
	}
	for {
		if err := step(); err != nil {
			return nil, err
		}
		if p.tok.kind == tokClose {
			return out, nil
		}
		if p.tok.kind == tokEOF {
			return nil, errorf(open, "the list that starts here is never closed; add ]")
		}
		v, err := p.value(key, depth)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		if err := step(); err != nil {
			return nil, err
		}
		switch p.tok.kind {
		case tokComma:
		case tokClose:
			return out, nil
		case tokEOF:
			return nil, errorf(open, "the list that starts here is never closed; add ]")
		default:
			return nil, errorf(p.tok.pos, "%v in the list of %s; put a comma between elements, and ] at the end", p.tok, key)
		}
	}
}

func (p *parser) store(key token, add bool, v Value) *Error {
	old := p.file.Get(key.text)
	switch {
	case old == nil && len(p.file.Settings) >= maxSettings:
		return errorf(key.pos, "more than %d keys; is this a configuration file?", maxSettings)
	case old == nil:
		p.file.Settings = append(p.file.Settings, Setting{key.text, v, key.pos})
		return nil
	case add && (old.Value.Kind == List) != (v.Kind == List):
		return errorf(key.pos, "%s += a %s, but %s is a %s since %v; make both the same", key.text, kindName(v.Kind), key.text, kindName(old.Value.Kind), old.Pos)
	case add && v.Kind == List:
		old.Value.List = append(old.Value.List[:len(old.Value.List):len(old.Value.List)], v.List...)
		return nil
	case add:
		old.Value = Value{Kind: String, Text: old.Value.Text + v.Text, Pos: old.Value.Pos}
		return nil
	case !p.override:
		p.file.Warnings = append(p.file.Warnings, Warning{key.pos, key.text, key.text + " was set at " + old.Pos.String() + " already; this line counts"})
	}
	*old = Setting{key.text, v, key.pos}
	return nil
}

func kindName(k Kind) string { return [...]string{"string", "number", "list"}[k] }
