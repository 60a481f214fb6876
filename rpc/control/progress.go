package control

import "context"

// Progress is how far a call is.
type Progress struct {
	// Step is what it does: a word or two, for a person.
	Step string
	// Done of Total, in bytes; a Total of 0: nobody knows.
	Done, Total uint64
}

type progressKey struct{}

// WithProgress makes the calls of ctx that take long tell f how far they are, from
// one goroutine at a time. They wait for f.
func WithProgress(ctx context.Context, f func(Progress)) context.Context {
	return context.WithValue(ctx, progressKey{}, f)
}

// ProgressOf returns what WithProgress put into ctx, or nil.
func ProgressOf(ctx context.Context) func(Progress) {
	f, _ := ctx.Value(progressKey{}).(func(Progress))
	return f
}
