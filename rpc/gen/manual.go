package main

import (
	"bytes"
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

const intro = `# The protocol of the control plane

Made from the schema, [rpc/nidus.proto](../rpc/nidus.proto), by ` + "`go generate ./rpc/...`" + `;
a change belongs there. How it travels, and why that way: [control-plane.md](control-plane.md).

`

// manual writes the protocol's manual in Markdown.
func manual(fd protoreflect.FileDescriptor) []byte {
	m := &page{fd: fd}
	m.WriteString(intro)
	m.para(m.comment(fd.SourceLocations().ByPath(protoreflect.SourcePath{14}))) // the edition statement's
	m.heading("Contents")
	for i := range fd.Services().Len() {
		s := fd.Services().Get(i)
		var calls []string
		for j := range s.Methods().Len() {
			calls = append(calls, link(string(s.Methods().Get(j).Name()), "call", s.Methods().Get(j).FullName()))
		}
		fmt.Fprintf(m, "- **%s**: %s\n", s.Name(), strings.Join(calls, ", "))
	}
	m.WriteString("\n")
	for i := range fd.Services().Len() {
		m.service(fd.Services().Get(i))
	}
	m.heading("Messages")
	for i := range fd.Messages().Len() {
		m.message(fd.Messages().Get(i))
	}
	m.heading("Enumerations")
	for i := range fd.Enums().Len() {
		m.enum(fd.Enums().Get(i))
	}
	return append(bytes.TrimRight(m.Bytes(), "\n"), '\n')
}

type page struct {
	bytes.Buffer
	fd protoreflect.FileDescriptor
}

func (m *page) heading(text string) { fmt.Fprintf(m, "## %s\n\n", text) }

func (m *page) para(text string) {
	if text != "" {
		m.WriteString(text + "\n\n")
	}
}

// comment is what stands before a declaration, or between the file's parts.
func (m *page) comment(l protoreflect.SourceLocation) string {
	lines := strings.Split(strings.TrimSpace(l.LeadingComments), "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func (m *page) of(d protoreflect.Descriptor) string {
	return m.comment(m.fd.SourceLocations().ByDescriptor(d))
}

func anchor(kind string, name protoreflect.FullName) string {
	return kind + "-" + strings.ReplaceAll(strings.TrimPrefix(string(name), "nidus."), ".", "-")
}

func link(text, kind string, name protoreflect.FullName) string {
	return fmt.Sprintf("[%s](#%s)", text, anchor(kind, name))
}

func (m *page) service(s protoreflect.ServiceDescriptor) {
	m.heading(string(s.Name()))
	m.para(m.of(s))
	for i := range s.Methods().Len() {
		c := s.Methods().Get(i)
		fmt.Fprintf(m, "<a id=%q></a>\n### %s.%s\n\n", anchor("call", c.FullName()), s.Name(), c.Name())
		in, out := m.ref(c.Input()), m.ref(c.Output())
		if c.IsStreamingClient() {
			in = "stream of " + in
		}
		if c.IsStreamingServer() {
			out = "stream of " + out
		}
		may := ""
		if readOnly(c) {
			may = "; read-only"
		}
		fmt.Fprintf(m, "`/%s/%s`: %s → %s%s\n\n", s.FullName(), c.Name(), in, out, may)
		m.para(m.of(c))
	}
}

func (m *page) ref(d protoreflect.Descriptor) string {
	return link(string(d.Name()), "type", d.FullName())
}

func (m *page) message(d protoreflect.MessageDescriptor) {
	fmt.Fprintf(m, "<a id=%q></a>\n### %s\n\n", anchor("type", d.FullName()), d.Name())
	m.para(m.of(d))
	if d.Fields().Len() == 0 {
		m.para("No fields.")
		return
	}
	m.WriteString("| no. | field | type | |\n|---|---|---|---|\n")
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		typ := f.Kind().String()
		switch f.Kind() {
		case protoreflect.MessageKind:
			typ = m.ref(f.Message())
		case protoreflect.EnumKind:
			typ = m.ref(f.Enum())
		}
		if f.IsList() {
			typ = "list of " + typ
		}
		fmt.Fprintf(m, "| %d | `%s` | %s | %s |\n", f.Number(), f.Name(), typ, strings.ReplaceAll(m.of(f), "\n", " "))
	}
	m.WriteString("\n")
}

func (m *page) enum(d protoreflect.EnumDescriptor) {
	fmt.Fprintf(m, "<a id=%q></a>\n### %s\n\n", anchor("type", d.FullName()), d.Name())
	m.para(m.of(d))
	m.WriteString("| no. | name | |\n|---|---|---|\n")
	for i := range d.Values().Len() {
		v := d.Values().Get(i)
		fmt.Fprintf(m, "| %d | `%s` | %s |\n", v.Number(), v.Name(), strings.ReplaceAll(m.of(v), "\n", " "))
	}
	m.WriteString("\n")
}
