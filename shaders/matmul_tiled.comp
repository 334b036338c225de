// Matrix product for GPUs with fast shared memory: 64 x 64 elements of the result per workgroup, 4 x 4 per invocation.
//
// Both operands go through shared memory in slices of 16 depths, so that each of their elements is read from the buffers once per
// workgroup. Strides are free; the invocations of a row read along whichever index of an operand has stride 1.
// Method: register and shared-memory blocking, as in V. Volkov, J. Demmel: Benchmarking GPUs to tune dense linear algebra (SC 2008).
#version 450

layout(local_size_x = 256) in;

// What `parameters_of` in runtime/vulkan/matmul.py writes; strides in elements, over (batch, row, column).
layout(std140, set = 0, binding = 0) uniform Parameters {
    uvec4 size;        // rows, columns, depth, layers: workgroups along z per item of the batch
    uvec4 start;       // first elements of left, right and result; left's batch stride
    uvec4 left_right;  // left's row and column strides, right's batch and row strides
    uvec4 result;      // right's column stride; the result's strides
} p;
layout(set = 1, binding = 0) readonly buffer Left { float left[]; };
layout(set = 1, binding = 1) readonly buffer Right { float right[]; };
layout(set = 1, binding = 2) writeonly buffer Result { float result[]; };

const uint TILE = 64, SLICE = 16, PAD = 1;
shared float left_slice[SLICE][TILE + PAD];
shared float right_slice[SLICE][TILE + PAD];

void main() {
    uint rows = p.size.x, columns = p.size.y, depth = p.size.z;
    uint item = gl_WorkGroupID.z / p.size.w;
    uint row = (gl_WorkGroupID.y + gl_WorkGroupID.z % p.size.w * gl_NumWorkGroups.y) * TILE;
    uint column = gl_WorkGroupID.x * TILE;
    uint left_row = p.left_right.x, left_depth = p.left_right.y, right_depth = p.left_right.w, right_column = p.result.x;
    uint left_base = p.start.x + item * p.start.w;
    uint right_base = p.start.y + item * p.left_right.z;
    uint me = gl_LocalInvocationIndex;
    uvec2 along = uvec2(me % TILE, me / TILE), down = uvec2(me / SLICE, me % SLICE);
    bool left_by_row = left_row == 1, right_by_depth = right_depth == 1;

    vec4 sums[4] = vec4[4](vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
    uint x = me % 16, y = me / 16;
    for (uint k = 0; k < depth; k += SLICE) {
        for (uint part = 0; part < 4; part++) {
            // (place in the tile, depth in the slice)
            uvec2 at = left_by_row ? along + uvec2(0, 4 * part) : down + uvec2(16 * part, 0);
            bool inside = row + at.x < rows && k + at.y < depth;
            left_slice[at.y][at.x] = inside ? left[left_base + (row + at.x) * left_row + (k + at.y) * left_depth] : 0.0;
            at = right_by_depth ? down + uvec2(16 * part, 0) : along + uvec2(0, 4 * part);
            inside = column + at.x < columns && k + at.y < depth;
            right_slice[at.y][at.x] =
                inside ? right[right_base + (column + at.x) * right_column + (k + at.y) * right_depth] : 0.0;
        }
        barrier();
        // What lies past the depth must not be added: zeros times an infinity would be NaN.
        uint slice = min(SLICE, depth - k);
        for (uint d = 0; d < slice; d++) {
            vec4 b = vec4(right_slice[d][x], right_slice[d][x + 16], right_slice[d][x + 32], right_slice[d][x + 48]);
            for (uint i = 0; i < 4; i++) {
                sums[i] += left_slice[d][y + 16 * i] * b;
            }
        }
        barrier();
    }
    uint base = p.start.z + item * p.result.y;
    for (uint i = 0; i < 4; i++) {
        for (uint j = 0; j < 4; j++) {
            uint r = row + y + 16 * i, c = column + x + 16 * j;
            if (r < rows && c < columns) {
                result[base + r * p.result.z + c * p.result.w] = sums[i][j];
            }
        }
    }
}
