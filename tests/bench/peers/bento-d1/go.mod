module peer

go 1.22

require github.com/warpstreamlabs/bento v1.10.0
