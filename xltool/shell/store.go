package shell

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"nidus/rpc/control"
)

// storePrefix begins the names of the commands on xenstore, which are programs
// of their own in Xen; "xenstore ls" is the same as "xenstore-ls".
const storePrefix = "xenstore-"

func storeCommands() []*command {
	prefix := option{short: "p", help: "print the path before each value"}
	out := []*command{
		{name: "ls", args: "[PATH...]", summary: "print a part of xenstore as a tree", max: -1, run: storeLs,
			options: []option{{short: "f", help: "print full paths"}, {short: "p", help: "print permissions"}, jsonOption}},
		{name: "read", args: "PATH...", summary: "print values", min: 1, max: -1, run: storeRead, options: []option{prefix, {short: "R", help: "print values as they are"}}},
		{name: "write", args: "PATH VALUE...", summary: "set values; there can be several pairs", min: 2, max: -1, run: storeWrite},
		{name: "list", args: "PATH...", summary: "print the names of the nodes right below", min: 1, max: -1, run: storeList, options: []option{{short: "p", help: "print full paths"}, jsonOption}},
		{name: "rm", args: "PATH...", summary: "remove nodes, with all below", min: 1, max: -1, run: storeRm, options: []option{{short: "t", help: "remove parents that are empty then, too"}}},
		{name: "chmod", args: "PATH MODE...", summary: "set permissions, such as n0 r1: the owner's, then others'", min: 2, max: -1, run: storeChmod, options: []option{{short: "r", help: "of all nodes below, too"}}},
		{name: "exists", args: "PATH...", summary: "tell by the exit status whether nodes are there", min: 1, max: -1, run: storeExists},
		{name: "watch", args: "PATH...", summary: "print paths that change, at and below these", min: 1, max: -1, run: storeWatch,
			options: []option{{short: "n", value: "COUNT", help: "end after that many"}}},
	}
	for _, c := range out {
		c.name = storePrefix + c.name
	}
	return out
}

// value writes a value so that it can't move the cursor, as xenstore-ls does.
func value(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		switch {
		case c == '\n':
			s.WriteString(`\n`)
		case c == '\t':
			s.WriteString(`\t`)
		case c == '\r':
			s.WriteString(`\r`)
		case c == '\\' || c == '"':
			s.WriteByte('\\')
			s.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&s, `\x%02x`, c)
		default:
			s.WriteByte(c)
		}
	}
	return s.String()
}

// below joins a path and a name.
func below(path, name string) string { return strings.TrimSuffix(path, "/") + "/" + name }

func storeLs(ctx context.Context, c *call) error {
	paths := c.args
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	tree := map[string]string{}
	for _, path := range paths {
		if err := c.walk(ctx, path, 0, tree); err != nil {
			return err
		}
	}
	if c.opt("json") {
		return c.printJSON(tree)
	}
	return nil
}

// walk prints what is below a node, or puts it into tree. The depth is bounded
// by that of a path.
func (c *call) walk(ctx context.Context, path string, depth int, tree map[string]string) error {
	names, err := c.Plane.XenstoreList(ctx, path)
	if err != nil {
		return err
	}
	for _, name := range names {
		node := below(path, name)
		b, err := c.Plane.XenstoreRead(ctx, node)
		var perms []string
		if err == nil && c.opt("p") {
			perms, err = c.Plane.XenstorePerms(ctx, node)
		}
		if errors.Is(err, control.ErrNoNode) { // gone since
			continue
		}
		if err != nil {
			return err
		}
		tree[node] = string(b)
		if !c.opt("json") {
			label := strings.Repeat(" ", depth) + printable(name)
			if c.opt("f") {
				label = printable(node)
			}
			c.printf("%s = \"%s\"", label, value(b))
			if c.opt("p") {
				c.printf("   (%s)", printable(strings.Join(perms, ",")))
			}
			c.printf("\n")
		}
		if err := c.walk(ctx, node, depth+1, tree); err != nil && !errors.Is(err, control.ErrNoNode) {
			return err
		}
	}
	return nil
}

func storeRead(ctx context.Context, c *call) error {
	for _, path := range c.args {
		b, err := c.Plane.XenstoreRead(ctx, path)
		if err != nil {
			return err
		}
		if c.opt("p") {
			c.printf("%s: ", printable(path))
		}
		if c.opt("R") {
			c.printf("%s\n", b)
		} else {
			c.printf("%s\n", value(b))
		}
	}
	return nil
}

func storeWrite(ctx context.Context, c *call) error {
	if len(c.args)%2 != 0 {
		return c.usageError("%q has no value", c.args[len(c.args)-1])
	}
	for i := 0; i < len(c.args); i += 2 {
		if err := c.Plane.XenstoreWrite(ctx, c.args[i], []byte(c.args[i+1])); err != nil {
			return err
		}
	}
	return nil
}

func storeList(ctx context.Context, c *call) error {
	all := []string{}
	for _, path := range c.args {
		names, err := c.Plane.XenstoreList(ctx, path)
		if err != nil {
			return err
		}
		for _, n := range names {
			if c.opt("p") {
				n = below(path, n)
			}
			all = append(all, n)
		}
	}
	if c.opt("json") {
		return c.printJSON(all)
	}
	for _, n := range all {
		c.printf("%s\n", printable(n))
	}
	return nil
}

func storeRm(ctx context.Context, c *call) error {
	for _, path := range c.args {
		// xenstore takes a node that is missing for removed.
		if _, err := c.Plane.XenstoreRead(ctx, path); err != nil {
			return err
		}
		if err := c.Plane.XenstoreRemove(ctx, path); err != nil {
			return err
		}
		for c.opt("t") {
			path = path[:max(strings.LastIndexByte(path, '/'), 0)]
			if path == "" {
				break
			}
			names, err := c.Plane.XenstoreList(ctx, path)
			if err != nil {
				return err
			}
			b, err := c.Plane.XenstoreRead(ctx, path)
			if err != nil {
				return err
			}
			if len(names) > 0 || len(b) > 0 {
				break
			}
			if err := c.Plane.XenstoreRemove(ctx, path); err != nil {
				return err
			}
		}
	}
	return nil
}

func storeChmod(ctx context.Context, c *call) error {
	var set func(path string) error
	set = func(path string) error {
		if err := c.Plane.XenstoreSetPerms(ctx, path, c.args[1:]); err != nil || !c.opt("r") {
			return err
		}
		names, err := c.Plane.XenstoreList(ctx, path)
		if err != nil {
			return err
		}
		for _, n := range names {
			if err := set(below(path, n)); err != nil {
				return err
			}
		}
		return nil
	}
	return set(c.args[0])
}

func storeExists(ctx context.Context, c *call) error {
	for _, path := range c.args {
		_, err := c.Plane.XenstoreRead(ctx, path)
		if errors.Is(err, control.ErrNoNode) {
			return errSilent
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// storeWatch merges a stream for each path.
func storeWatch(ctx context.Context, c *call) error {
	count := -1
	if n, ok := c.optValue("n"); ok {
		var err error
		if count, err = strconv.Atoi(n); err != nil || count < 1 {
			return c.usageError("%q is not how many changes to wait for", n)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	type change struct {
		path string
		err  error
	}
	changes := make(chan change)
	for _, path := range c.args {
		w, err := c.Plane.XenstoreWatch(ctx, path)
		if err != nil {
			return err
		}
		wg.Go(func() {
			defer w.Close()
			for {
				p, err := w.Next(ctx)
				select {
				case changes <- change{p, err}:
				case <-ctx.Done():
					return
				}
				if err != nil {
					return
				}
			}
		})
	}
	for ; count != 0; count-- {
		select {
		case ch := <-changes:
			if ch.err != nil {
				return ch.err
			}
			c.printf("%s\n", printable(ch.path))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
