package shell

import (
	"context"
	"fmt"
	"io"
	"strings"

	"nidus/rpc/control"
)

// shells are those that completion knows.
var shells = []string{"bash", "zsh", "fish"}

func completion(ctx context.Context, c *call) error {
	switch c.args[0] {
	case "bash":
		bashCompletion(c.Stdout)
	case "zsh":
		zshCompletion(c.Stdout)
	case "fish":
		fishCompletion(c.Stdout)
	default:
		return control.Errorf(control.ErrBadArgument, "there is no completion for %q; use bash, zsh or fish", c.args[0])
	}
	return nil
}

// listDomains is what scripts run for the names of domains.
const listDomains = `xl list 2>/dev/null | awk 'NR > 1 { print $1 }'`

// quote puts a text into single quotes.
func quote(s, quoted string) string { return "'" + strings.ReplaceAll(s, "'", quoted) + "'" }

// kindWords are the kinds of arguments in the scripts.
var kindWords = map[argKind]string{argOther: "other", argDomain: "domain", argModule: "file", argCommand: "command", argTrigger: "trigger", argKey: "key", argShell: "shell"}

// fixed are the words of kinds that don't change.
func fixed(k argKind) []string {
	switch k {
	case argCommand:
		return append(candidates(context.Background(), nil, argCommand), "xenstore", "cert")
	case argTrigger, argShell, argKey:
		return candidates(context.Background(), nil, k)
	}
	return nil
}

// flags are the ways to write an option.
func (o option) flags() []string {
	var out []string
	if o.short != "" {
		out = append(out, "-"+o.short)
	}
	if o.long != "" {
		out = append(out, "--"+o.long)
	}
	return out
}

func bashCompletion(w io.Writer) {
	fmt.Fprintf(w, `# Completion of xl for bash, made by "xl completion bash". Put it into
# ~/.local/share/bash-completion/completions/xl, or source it.

_xl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	local cmd= opts= valued= kinds= max=-1 kind= word i n=0
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if [[ -z $cmd ]]; then
			[[ $word == -* ]] || cmd=$word
			_xl_command "$cmd"
		elif [[ $word != -* && " $valued " != *" ${COMP_WORDS[i-1]}:"* ]]; then
			((n++))
		fi
	done
	if [[ -z $cmd ]]; then
		kind=command
	elif [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W "$opts" -- "$cur"))
		return
	elif [[ " $valued " == *" $prev:"* ]]; then
		kind=${valued##*"$prev:"}
		kind=${kind%%%% *}
	elif ((max < 0 || n < max)); then
		for word in $kinds; do
			kind=$word
			((n-- == 0)) && break
		done
	fi
	case $kind in
	domain) COMPREPLY=($(compgen -W "$(%s)" -- "$cur")) ;;
	file) COMPREPLY=($(compgen -f -- "$cur")) ;;
`, listDomains)
	for k := argCommand; k <= argShell; k++ {
		extra := ""
		if k == argKey {
			extra = "compopt -o nospace 2>/dev/null; "
		}
		fmt.Fprintf(w, "\t%s) %sCOMPREPLY=($(compgen -W %s -- \"$cur\")) ;;\n", kindWords[k], extra, quote(strings.Join(fixed(k), " "), ""))
	}
	fmt.Fprintf(w, "\tesac\n}\n\n# _xl_command says what a command takes.\n_xl_command() {\n\tcase $1 in\n")
	for _, c := range commands() {
		var opts, valued, kinds []string
		for _, o := range c.options {
			opts = append(opts, o.flags()...)
			if o.value != "" {
				for _, f := range o.flags() {
					valued = append(valued, f+":"+kindWords[o.kind])
				}
			}
		}
		for _, k := range c.kinds {
			kinds = append(kinds, kindWords[k])
		}
		names := strings.Join(append([]string{quote(c.name, "")}, quoted(c.aliases)...), "|")
		fmt.Fprintf(w, "\t%s) opts='%s' valued='%s' kinds='%s' max=%d ;;\n", names, strings.Join(opts, " "), strings.Join(valued, " "), strings.Join(kinds, " "), c.max)
	}
	fmt.Fprintf(w, "\tesac\n}\n\ncomplete -F _xl xl xm\n")
}

func quoted(words []string) []string {
	var out []string
	for _, w := range words {
		out = append(out, quote(w, ""))
	}
	return out
}

// zshAction is what _arguments does for a kind.
func zshAction(k argKind) string {
	switch k {
	case argDomain:
		return "domain:_xl_domains"
	case argModule:
		return "file:_files"
	case argCommand:
		return "command:_xl_commands"
	case argKey:
		return "key:compadd -S '' -- " + strings.Join(fixed(k), " ")
	case argTrigger, argShell:
		return kindWords[k] + ":(" + strings.Join(fixed(k), " ") + ")"
	}
	return " : "
}

func zshCompletion(w io.Writer) {
	const apostrophe = `'\''`
	esc := strings.NewReplacer(`[`, `\[`, `]`, `\]`, `:`, `\:`).Replace
	fmt.Fprintf(w, `#compdef xl xm
# Completion of xl for zsh, made by "xl completion zsh". Put it as _xl into a
# folder of $fpath.

_xl_domains() { compadd -- ${(f)"$(%s)"} }

_xl_commands() {
	local -a commands=(
`, listDomains)
	for _, c := range commands() {
		fmt.Fprintf(w, "\t\t%s\n", quote(c.name+":"+strings.ReplaceAll(c.summary, ":", `\:`), apostrophe))
	}
	fmt.Fprintf(w, `	)
	_describe command commands
}

_xl() {
	if (( CURRENT == 2 )); then
		_xl_commands
		return
	fi
	shift words
	(( CURRENT-- ))
	case $words[1] in
`)
	for _, c := range commands() {
		fmt.Fprintf(w, "\t%s)\n\t\t_arguments", strings.Join(append([]string{quote(c.name, "")}, quoted(c.aliases)...), "|"))
		for _, o := range c.options {
			for _, f := range o.flags() {
				spec := f + "[" + esc(o.help) + "]"
				if o.value != "" {
					if strings.HasPrefix(f, "--") {
						spec = f + "=[" + esc(o.help) + "]"
					}
					spec += ":" + zshAction(o.kind)
				}
				fmt.Fprintf(w, " \\\n\t\t\t%s", quote(spec, apostrophe))
			}
		}
		for i, k := range c.kinds {
			spec := ":" + zshAction(k)
			if i == len(c.kinds)-1 && (c.max < 0 || c.max > len(c.kinds)) {
				spec = "*" + spec
			}
			fmt.Fprintf(w, " \\\n\t\t\t%s", quote(spec, apostrophe))
		}
		fmt.Fprintf(w, " ;;\n")
	}
	fmt.Fprintf(w, "\tesac\n}\n\n_xl \"$@\"\n")
}

func fishCompletion(w io.Writer) {
	const apostrophe = `\'`
	q := func(s string) string { return quote(strings.ReplaceAll(s, `\`, `\\`), apostrophe) }
	fmt.Fprintf(w, `# Completion of xl for fish, made by "xl completion fish". Put it into
# ~/.config/fish/completions/xl.fish.

complete -c xm -w xl
complete -c xl -f
`)
	arguments := func(k argKind) string {
		switch k {
		case argDomain:
			return "-a " + q("("+listDomains+")")
		case argModule:
			return "-F"
		case argCommand, argTrigger, argKey, argShell:
			return "-a " + q(strings.Join(fixed(k), " "))
		}
		return ""
	}
	for _, c := range commands() {
		fmt.Fprintf(w, "complete -c xl -n __fish_use_subcommand -a %s -d %s\n", c.name, q(c.summary))
		when := q("__fish_seen_subcommand_from " + strings.Join(append([]string{c.name}, c.aliases...), " "))
		for _, o := range c.options {
			fmt.Fprintf(w, "complete -c xl -n %s", when)
			if o.short != "" {
				fmt.Fprintf(w, " -s %s", o.short)
			}
			if o.long != "" {
				fmt.Fprintf(w, " -l %s", o.long)
			}
			if o.value != "" {
				fmt.Fprintf(w, " -r %s", arguments(o.kind))
			}
			fmt.Fprintf(w, " -d %s\n", q(o.help))
		}
		for _, k := range c.kinds {
			if a := arguments(k); a != "" {
				fmt.Fprintf(w, "complete -c xl -n %s %s\n", when, a)
			}
		}
	}
}
