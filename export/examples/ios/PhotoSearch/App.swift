import PhotosUI
import SwiftUI

@main
struct PhotoSearchApp: App {
    var body: some Scene {
        WindowGroup { SearchView() }
    }
}

/// A button, the chosen photo, and the names and scores of its neighbours.
struct SearchView: View {
    @State private var search: PhotoSearch?
    @State private var item: PhotosPickerItem?
    @State private var photo: UIImage?
    @State private var matches: [Match] = []
    @State private var problem: String?

    var body: some View {
        List {
            // No permission is needed: the picker hands over the one photo that was chosen, as it lies in the library.
            PhotosPicker("Choose a photo", selection: $item, matching: .images, preferredItemEncoding: .current)
            if let photo {
                Image(uiImage: photo).resizable().scaledToFit()
            }
            if let problem {
                Text(problem)
            }
            ForEach(matches) { match in
                LabeledContent(match.name, value: String(format: "%.4f", match.score))
            }
        }
        .task(id: item) { await show(item) }
    }

    private func show(_ item: PhotosPickerItem?) async {
        guard let item else { return }
        matches = []
        problem = nil
        do {
            guard let data = try await item.loadTransferable(type: Data.self) else { return }
            photo = UIImage(data: data)
            if search == nil { search = try await PhotoSearch() }
            matches = try await search?.search(data) ?? []
        } catch {
            problem = error.localizedDescription
        }
    }
}
