package shell

import (
	"context"
	"slices"
	"strings"
	"time"

	"nidus/rpc/control"
	"nidus/xltool/xlcfg"
)

// tab completes the word before the cursor as far as it is certain; a second
// tab lists what is possible.
func (e *editor) tab(ctx context.Context, again bool) {
	left := string(e.line[:e.pos])
	start, words := e.complete(ctx, left)
	typed := left[start:]
	words = slices.DeleteFunc(words, func(w string) bool { return !strings.HasPrefix(w, typed) || printable(w) != w })
	slices.Sort(words)
	words = slices.Compact(words)
	if len(words) == 0 {
		e.bell()
		return
	}
	common := words[0]
	for _, w := range words[1:] {
		for !strings.HasPrefix(w, common) {
			common = strings.ToValidUTF8(common[:len(common)-1], "")
		}
	}
	if len(words) == 1 && !strings.HasSuffix(common, "=") {
		common += " "
	}
	if add := common[len(typed):]; add != "" {
		e.insert([]rune(add))
	}
	if len(words) == 1 {
		return
	}
	if !again {
		e.tabbed = true
		e.bell()
		return
	}
	e.write("\r\n" + strings.Join(words, "  ") + "\r\n")
	e.refresh()
}

// completer returns the editor's complete function for a control plane.
func completer(plane control.Plane) func(context.Context, string) (int, []string) {
	return func(ctx context.Context, left string) (int, []string) {
		start := strings.LastIndexAny(left, " \t") + 1
		before := strings.Fields(left[:start])
		if len(before) > 0 && before[0] == "xl" {
			before = before[1:]
		}
		if len(before) == 0 {
			return start, candidates(ctx, plane, argCommand)
		}
		cmd, err := find(before[0])
		if err != nil {
			return start, nil
		}
		if strings.HasPrefix(left[start:], "-") {
			var out []string
			for _, o := range cmd.options {
				if o.short != "" {
					out = append(out, "-"+o.short)
				}
				if o.long != "" {
					out = append(out, "--"+o.long)
				}
			}
			return start, out
		}
		n := 0
		for i, w := range before[1:] {
			if strings.HasPrefix(w, "-") && len(w) > 1 {
				continue
			}
			if _, ok := valued(cmd, before[i]); ok {
				continue
			}
			n++
		}
		if o, ok := valued(cmd, before[len(before)-1]); ok {
			return start, candidates(ctx, plane, o.kind)
		}
		if len(cmd.kinds) == 0 || cmd.max >= 0 && n >= cmd.max {
			return start, nil
		}
		return start, candidates(ctx, plane, cmd.kinds[min(n, len(cmd.kinds)-1)])
	}
}

// valued returns the option that a flag is, if it takes a value.
func valued(cmd *command, flag string) (option, bool) {
	i := slices.IndexFunc(cmd.options, func(o option) bool {
		return o.value != "" && (o.short != "" && flag == "-"+o.short || o.long != "" && flag == "--"+o.long)
	})
	if i < 0 {
		return option{}, false
	}
	return cmd.options[i], true
}

// candidates lists what an argument can be.
func candidates(ctx context.Context, plane control.Plane, kind argKind) []string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var out []string
	switch kind {
	case argCommand:
		for _, c := range commands() {
			out = append(out, c.name)
		}
	case argDomain:
		ds, _ := plane.ListDomains(ctx) // without an answer nothing is completed
		for _, d := range ds {
			out = append(out, d.Name)
		}
	case argModule:
		ms, _ := plane.Modules(ctx)
		for _, m := range ms {
			out = append(out, m.Name)
		}
	case argTrigger:
		for t := control.TriggerNMI; t <= control.TriggerS3Resume; t++ {
			out = append(out, t.String())
		}
	case argShell:
		out = shells
	case argKey:
		for _, k := range xlcfg.Keys() {
			out = append(out, k+"=")
		}
	}
	return out
}
